"""Blocks: networks within a network; importing this package registers them."""

from snnlab.nn.blocks.attention import KVMask as KVMask, QKMask as QKMask
from snnlab.nn.blocks.branches import (
    Parallel as Parallel,
    Residual as Residual,
    repeat as repeat,
    sequential as sequential,
)
from snnlab.nn.blocks.graph import Edge as Edge, Graph as Graph
from snnlab.nn.blocks.loop import FeedbackState as FeedbackState, Loop as Loop, LoopFeedback as LoopFeedback
