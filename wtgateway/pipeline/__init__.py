"""One broadcast's production: source -> encoders -> hub, supervised, with back-off.

The source is read in one thread, each medium is encoded in another; between them stand a slot
that keeps only the newest picture and a queue of at most half a second of sound. Frames cross to
the event loop through a bounded outbox. May import sources, encoders, hub and what they may.
"""

from wtgateway.pipeline.queues import PipelineStats
from wtgateway.pipeline.supervisor import Pipeline

__all__ = ["Pipeline", "PipelineStats"]
