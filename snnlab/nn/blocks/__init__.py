"""Blocks, one file each: networks within a network; importing this registers them all."""

from snnlab.nn.blocks.chains import repeat as repeat
from snnlab.nn.blocks.chains import sequential as sequential
from snnlab.nn.blocks.feedback import FeedbackState as FeedbackState
from snnlab.nn.blocks.feedback import LoopFeedback as LoopFeedback
from snnlab.nn.blocks.loop import Loop as Loop
from snnlab.nn.blocks.parallel import Parallel as Parallel
from snnlab.nn.blocks.residual import Residual as Residual
