"""Recordings changed at random for training, event by event."""

from snnlab.data.augment import events as events
from snnlab.data.augment import from_tonic as from_tonic
from snnlab.data.augment import geometry as geometry
from snnlab.data.augment import time as time
from snnlab.data.augment.base import AUGMENTATIONS as AUGMENTATIONS
from snnlab.data.augment.base import Augmentation as Augmentation
from snnlab.data.augment.pipeline import Pipeline as Pipeline
from snnlab.data.augment.pipeline import build_pipeline as build_pipeline
