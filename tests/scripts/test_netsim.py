"""`scripts/netsim`: the command line, what the path does in virtual time, and forwarding between sockets."""

from __future__ import annotations

import itertools
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.netsimulator import units
from scripts.netsimulator.figures import Recorder
from scripts.netsimulator.loop import Loop
from scripts.netsimulator.options import Network, arguments, network
from scripts.netsimulator.path import Direction, DrivenTime, Packet
from scripts.netsimulator.udp import IDLE_SECONDS, UdpRelay
from tests.netsim_losses import LossBursts


def asked(line: str) -> Network:
    return network(line.split())


# Quantities.


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (units.seconds, "40ms", 0.04),
        (units.seconds, "1.5s", 1.5),
        (units.seconds, "0", 0.0),
        (units.seconds, "250us", 0.00025),
        (units.share, "5%", 0.05),
        (units.share, "0.05", 0.05),
        (units.bits_per_second, "4M", 4e6),
        (units.bits_per_second, "800kbit/s", 8e5),
        (units.bits_per_second, "1200", 1200.0),
        (units.rate_steps, "8M", ((0.0, 8e6),)),
        (units.rate_steps, "8M@0,1M@10,8M@20s", ((0.0, 8e6), (10.0, 1e6), (20.0, 8e6))),
        (units.blackouts, "10s+1s,20+500ms", ((10.0, 1.0), (20.0, 0.5))),
        (units.burst, "5-20", (5, 20)),
        (units.burst, "8", (8, 8)),
        (units.queue, "256K", (262144, 0.0)),
        (units.queue, "500ms", (0, 0.5)),
        (units.address, "5433", ("127.0.0.1", 5433)),
        (units.address, "[::1]:80", ("::1", 80)),
        (units.address, "media.example:80", ("media.example", 80)),
    ],
)
def test_quantities(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.seconds, "40"),
        (units.seconds, "-1s"),
        (units.seconds, "2 days"),
        (units.seconds, "90000s"),
        (units.share, "5"),
        (units.share, "101%"),
        (units.share, "lots"),
        (units.bits_per_second, "4X"),
        (units.bits_per_second, "0.5"),
        (units.bits_per_second, "1e9"),
        (units.rate_steps, "8M@5"),
        (units.rate_steps, "8M@0,1M@0"),
        (units.rate_steps, "8M@0,0@3"),
        (units.blackouts, "10s"),
        (units.blackouts, "10s+0s"),
        (units.blackouts, "10s+2s,11s+1s"),
        (units.burst, "20-5"),
        (units.burst, "0"),
        (units.queue, "0"),
        (units.queue, "4T"),
        (units.address, "::1:80"),
        (units.address, ":80"),
        (units.address, "70000"),
        (units.address, "host"),
    ],
)
def test_unusable_quantities_are_named(read, text):
    with pytest.raises(ValueError, match=r".") as raised:
        read(text)
    assert repr(text.split(",")[0].split("@")[0].split("+")[0])[1:-1] in str(raised.value)


READERS = [units.seconds, units.share, units.bits_per_second, units.rate_steps, units.blackouts, units.burst,
           units.queue, units.address]  # fmt: skip


@given(st.text(alphabet="0123456789.,@+-%:[]sSmMkKuµ ebB/٣²", max_size=20), st.sampled_from(READERS))
def test_quantities_are_read_or_refused(text, read):
    try:
        value = read(text)
    except ValueError:
        return
    flat = str(value)
    assert "nan" not in flat and "inf" not in flat and not flat.startswith("-")


# The command line.


def test_the_example_of_the_documents():
    chosen = arguments(["--loss", "5%", "--delay", "40ms", "--rate", "4M", "5433", "localhost:4433"])
    assert (chosen.listen, chosen.target) == (("127.0.0.1", 5433), ("localhost", 4433))
    for way in (chosen.network.up, chosen.network.down):
        c = way.conditions
        assert (c.loss, c.delay, c.rate_bps, c.queue_bytes) == (0.05, 0.04, 4e6, 100_000)


def test_one_direction_may_be_told_apart():
    both = asked("--loss 1% --down-loss 10% --burst 5-20 --up-rate 1M --down-rate 8M@0,1M@10 --queue 500ms")
    assert both.up.conditions.losses == LossBursts(0.01, 5, 20)
    assert both.down.conditions.losses == LossBursts(0.10, 5, 20)
    assert both.down.conditions.steps == ((10.0, 1e6),)
    assert (both.up.conditions.queue_bytes, both.down.conditions.queue_bytes) == (62_500, 500_000)


def test_zero_for_one_direction_overrules_both():
    assert asked("--loss 5% --up-loss 0%").up.conditions.loss == 0.0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5433", "LISTEN and TARGET"),
        ("", "LISTEN and TARGET"),
        ("1 2 3", "LISTEN and TARGET"),
        ("5433 localhost:0", "TARGET needs a port"),
        ("--loss 5 1 2", "--loss: '5' is more than everything"),
        ("--competing 1 1 2", "needs a --rate"),
        ("--burst 5-20 1 2", "needs a --loss"),
        ("--every 1ms 1 2", "--every is too short"),
        ("--discipline red 1 2", "drop-tail or codel"),
        ("--los 5% 1 2", "unrecognized"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_sentence(line, words, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments(line.split())
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--loss lots", "--listen 3", "--burst 3", "word"])
def test_a_wrong_line_of_control_is_an_error_and_no_exit(line):
    with pytest.raises(ValueError, match=r"."):
        asked(line)


# The path, in virtual time.


class Bench:
    """One direction with its clock; ``arrived`` is (time, packet)."""

    def __init__(self, line: str, seed: int = 1) -> None:
        self.time = DrivenTime(100.0)
        self.direction = Direction(self.time, asked(line).down, seed)
        self.arrived: list[tuple[float, bytes]] = []

    def send(self, data: bytes) -> None:
        packet = Packet(data)
        packet.forward = lambda data: self.arrived.append((self.time.now - 100.0, bytes(data)))
        self.direction.send(packet)

    def stream(self, packets: int, size: int, gap: float) -> None:
        """Numbered packets at even distances, then time to arrive."""
        for number in range(packets):
            self.send(number.to_bytes(8, "big") + bytes(size - 8))
            self.time.reach(self.time.now + gap)
        self.time.reach(self.time.now + 10)

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(data[:8], "big") for _, data in self.arrived]


def within_binomial(count: int, of: int, share: float) -> bool:
    return abs(count - of * share) < 5 * math.sqrt(of * share * (1 - share))


def test_delay_and_order():
    bench = Bench("--delay 40ms --jitter 30ms")
    bench.stream(500, 1200, 0.001)
    assert bench.numbers == list(range(500))
    late = [at - 0.001 * n for n, (at, _) in enumerate(bench.arrived)]
    assert min(late) > 0.04 and 0.06 < max(late) < 0.0701 and max(late) - min(late) > 0.005


def test_random_loss_is_the_share_asked_for_and_the_seed_decides():
    bench, again, other = Bench("--loss 20%"), Bench("--loss 20%"), Bench("--loss 20%", seed=2)
    for each in (bench, again, other):
        each.stream(20_000, 100, 0.0001)
    assert within_binomial(bench.direction.totals().lost, 20_000, 0.2)
    assert bench.numbers == again.numbers != other.numbers
    assert len(bench.numbers) + bench.direction.totals().lost == 20_000


def test_bursts_have_the_lengths_asked_for():
    bench = Bench("--loss 10% --burst 5-20")
    bench.stream(50_000, 100, 0.0001)
    got = set(bench.numbers)
    runs, length = [], 0
    for number in range(50_000):
        length = 0 if number in got else length + 1
        if not length or number + 1 in got:
            runs += [length] * bool(length)
    assert max(runs) >= 15 and sum(run < 5 for run in runs) <= 1  # one may be cut off by the end
    assert 0.08 < 1 - len(got) / 50_000 < 0.12


def test_reordering_and_duplication():
    bench = Bench("--reorder 5% --reorder-by 20ms --duplicate 2%")
    bench.stream(10_000, 100, 0.001)
    assert sorted(set(bench.numbers)) == list(range(10_000))
    totals = bench.direction.totals()
    assert len(bench.numbers) == 10_000 + totals.duplicated
    assert within_binomial(totals.duplicated, 10_000, 0.02)
    first = list(dict.fromkeys(bench.numbers))
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(first))
    assert 300 < overtaken < 600


def test_the_rate_is_kept_through_its_steps():
    bench = Bench("--rate 8M@0,1M@5,8M@10 --queue 10s")
    bench.stream(3_000, 1_250, 0.002)  # 5 Mbit/s for 6 s
    passed = [sum(1_250 * 8 for at, _ in bench.arrived if second <= at < second + 1) for second in range(12)]
    assert passed[:5] == pytest.approx([5e6] * 5, rel=0.02)
    assert passed[5:9] == pytest.approx([1e6] * 4, rel=0.02)
    assert passed[9] <= 1.01e6 and len(bench.arrived) == 3_000


def test_a_full_queue_drops_its_tail_and_tells_how_long_packets_waited():
    bench = Bench("--rate 1M --queue 100ms")
    bench.stream(400, 1_250, 0.005)  # 2 Mbit/s
    totals, waits = bench.direction.totals(), bench.direction.take_waits()
    assert 0.45 < totals.overflowed / 400 < 0.5
    assert 0.08 < waits.longest <= 0.1 and waits.count == 400
    assert bench.direction.take_waits().count == 0


def test_codel_keeps_the_queue_shorter_than_drop_tail():
    waits = {}
    for discipline in ("drop-tail", "codel"):
        bench = Bench(f"--rate 1M --queue 2s --discipline {discipline}")
        bench.stream(3_000, 1_250, 0.0095)  # 5 % more than it carries
        waits[discipline] = bench.direction.take_waits().longest
    assert waits["codel"] < waits["drop-tail"] / 2


def test_nothing_arrives_in_a_blackout():
    bench = Bench("--delay 10ms --blackout 1s+500ms,3s+100ms")
    bench.stream(4_000, 100, 0.001)
    lost = sorted(set(range(4_000)) - set(bench.numbers))
    assert lost[0] == pytest.approx(1_000, abs=2) and lost[-1] == pytest.approx(3_099, abs=2)
    assert len(lost) == pytest.approx(600, abs=4)


def test_a_competing_flow_takes_what_is_left_and_is_counted_apart():
    bench = Bench("--rate 4M --queue 200ms --delay 20ms --competing 1")
    bench.stream(2_000, 1_250, 0.005)  # 2 Mbit/s for 10 s
    totals = bench.direction.totals()
    assert totals.packets == 2_000
    assert totals.competing_bytes * 8 / 20 > 1.5e6
    assert bench.direction.take_waits().longest > 0.1  # it fills the queue


def test_other_conditions_hold_from_then_on():
    bench = Bench("--delay 10ms --loss 100%")
    bench.stream(100, 100, 0.001)
    bench.direction.change(asked("--delay 50ms --rate 1M --competing 1").down)
    bench.time.reach(bench.time.now + 1)
    bench.direction.change(asked("--delay 50ms").down)
    bench.time.reach(bench.time.now + 60)  # what the flow had in flight, and its timers
    assert bench.time.next_due is None  # it sends no more
    competed = bench.direction.totals().competing_bytes
    assert competed < 1.3 * 1e6 / 8 * 1.1  # of a second, and the queue
    began = bench.time.now
    bench.stream(100, 100, 0.001)
    assert len(bench.arrived) == 100 and bench.arrived[0][0] == pytest.approx(began - 100.0 + 0.05)
    totals = bench.direction.totals()
    assert (totals.lost, totals.packets) == (100, 200)
    assert totals.competing_bytes == competed > 50_000  # counted still, and no more of it


def test_packets_in_flight_are_bounded():
    bench = Bench("--delay 1min")
    bench.direction.most_in_flight = 1_000
    for _ in range(1_010):
        bench.send(b"x")
    assert bench.direction.in_flight == 1_000
    assert bench.direction.totals().overflowed == 10


def test_figures_are_differences_and_their_table_is_bounded():
    bench = Bench("--loss 50% --rate 1M")
    recorder = Recorder(bench.direction, Direction(bench.time, asked("").up, 9), most_rows=100)
    recorder.begin(bench.time.now)
    bench.stream(100, 1_000, 0.01)
    up, down = recorder.take(bench.time.now, 1e9)
    assert up.totals.packets == 100 and up.totals.lost + up.totals.delivered == 100
    assert up.seconds == pytest.approx(11.0) and down.totals.packets == 0
    assert recorder.take(bench.time.now, 1e9)[0].totals.packets == 0
    assert "100 packets" in str(up) and "Mbit/s" in str(up)
    for _ in range(200):
        recorder.take(bench.time.now, 1e9)
    assert 50 <= len(recorder.rows) <= 100
    report = recorder.as_json(1, 0.001, 0.5, 3)
    assert report["totals"]["up"]["packets"] == 100 and report["refused"] == 3
    assert (report["latestMs"], report["lateShare"]) == (1.0, 0.5)


# Between sockets.


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def udp(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.settimeout(10)
    return made


class Relayed:
    """A relay in this process, turned by hand until a socket has something."""

    def __init__(self, host: str, **rest) -> None:
        self.time = DrivenTime(0.0)
        self.loop = Loop(self.time)
        none = asked("").up
        self.target = udp(host)
        ends = ((host, 0), (host, self.target.getsockname()[1]))
        self.relay = UdpRelay(
            self.loop, Direction(self.time, none, 1), Direction(self.time, none, 2), *ends, **rest
        )
        self.address = self.relay.address

    def received(self, at: socket.socket) -> tuple[bytes, tuple]:
        at.setblocking(False)
        while True:
            self.loop.turn()
            try:
                return at.recvfrom(2048)
            except BlockingIOError:
                continue


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_clients_are_forwarded_and_answered_each_by_itself(host):
    relayed, one, two = Relayed(host), udp(host), udp(host)
    one.sendto(b"from one", relayed.address)
    data, first = relayed.received(relayed.target)
    assert data == b"from one"
    two.sendto(b"from two", relayed.address)
    data, second = relayed.received(relayed.target)
    assert data == b"from two" and first != second
    relayed.target.sendto(b"to two", second)
    assert relayed.received(two)[0] == b"to two"
    relayed.target.sendto(b"to one", first)
    data, sender = relayed.received(one)
    assert data == b"to one" and sender[:2] == relayed.address[:2]
    for each in (one, two, relayed.target):
        each.close()
    relayed.relay.close()


def test_the_table_of_clients_is_bounded_and_the_idle_make_room():
    clock = Clock()
    relayed = Relayed("127.0.0.1", most_clients=2, clock=clock)
    clients = [udp("127.0.0.1") for _ in range(3)]
    for number, client in enumerate(clients[:2]):
        client.sendto(b"%d" % number, relayed.address)
        relayed.received(relayed.target)
    clients[2].sendto(b"2", relayed.address)
    relayed.loop.turn()
    assert (relayed.relay.clients, relayed.relay.refused) == (2, 1)
    clock.now = IDLE_SECONDS + 1
    clients[0].sendto(b"0", relayed.address)  # so the second is the one that was silent
    _, place = relayed.received(relayed.target)
    clients[2].sendto(b"2", relayed.address)
    assert relayed.received(relayed.target)[0] == b"2"
    clients[0].sendto(b"still here", relayed.address)
    assert relayed.received(relayed.target) == (b"still here", place)
    assert (relayed.relay.clients, relayed.relay.refused) == (2, 1)
    for each in (*clients, relayed.target):
        each.close()
    relayed.relay.close()


def test_a_target_that_is_closed_breaks_nothing():
    relayed, client = Relayed("127.0.0.1"), udp("127.0.0.1")
    port = relayed.target.getsockname()[1]
    relayed.target.close()
    for _ in range(3):
        client.sendto(b"nobody", relayed.address)
        relayed.loop.turn()
        relayed.loop.turn()
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    again.bind(("127.0.0.1", port))
    client.sendto(b"somebody", relayed.address)
    assert relayed.received(again)[0] == b"somebody"
    for each in (client, again):
        each.close()
    relayed.relay.close()


def test_the_program_relays_obeys_and_reports(tmp_path):
    target, client = udp("127.0.0.1"), udp("127.0.0.1")
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "scripts.netsimulator", "--control", "--quiet", "--json", report, "0",
               f"127.0.0.1:{target.getsockname()[1]}"]  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=root, **pipes) as program:
        port = int(program.stdout.readline().split()[1].rpartition(":")[2])
        client.sendto(b"there", ("127.0.0.1", port))
        data, back = target.recvfrom(100)
        target.sendto(data + b" and back", back)
        assert client.recv(100) == b"there and back"
        for line, answer in (("--loss 100%", "changed at "), ("--loss 5", "error: argument --loss")):
            program.stdin.write(line + "\n")
            program.stdin.flush()
            assert program.stdout.readline().startswith(answer)
        client.sendto(b"lost", ("127.0.0.1", port))
        program.terminate()
    assert program.returncode == 0
    totals = json.loads(report.read_text())["totals"]
    assert totals["up"]["delivered"] == totals["down"]["delivered"] == 1
    for each in (target, client):
        each.close()


def test_places_that_lead_nowhere_are_told(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "scripts.netsimulator", "0", "[::1]:99", "--json", tmp_path / "none"]
    done = subprocess.run([*command[:3], "203.0.113.1:1", "127.0.0.1:9"], cwd=root, capture_output=True,
                          text=True, env={**os.environ})  # fmt: skip
    assert done.returncode == 1 and "203.0.113.1:1 -> 127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
