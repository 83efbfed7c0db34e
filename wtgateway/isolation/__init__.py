"""Sources in processes of their own: what crashes in a demuxer, decoder or encoder takes nothing else along.

A broadcast's whole pipeline runs in a child of the main process. Its frames come back over shared memory as
they were cut, wishes go there over a socket, and here a pipeline with the same surface stands for it. May
import pipeline, workers, hub and what they may.
"""

from wtgateway.isolation.choice import make_pipeline
from wtgateway.isolation.pipeline import IsolatedPipeline
from wtgateway.isolation.processes import SourceProcesses

__all__ = ["IsolatedPipeline", "SourceProcesses", "make_pipeline"]
