"""Benchmarks: `scripts/bench NAME [--quick] [--json FILE]`.

Each bench is a module with ``async def run(options) -> list[Figure]``; REGISTRY in ``__main__`` names
them. A figure says its goal and what peers reach in the same run on the same machine.
"""
