"""Blocks, one file each: networks within a network; importing this registers them all."""

from snnlab.nn.blocks.branches import Parallel as Parallel
from snnlab.nn.blocks.branches import Residual as Residual
from snnlab.nn.blocks.branches import repeat as repeat
from snnlab.nn.blocks.branches import sequential as sequential
from snnlab.nn.blocks.loop import FeedbackState as FeedbackState
from snnlab.nn.blocks.loop import Loop as Loop
from snnlab.nn.blocks.loop import LoopFeedback as LoopFeedback
