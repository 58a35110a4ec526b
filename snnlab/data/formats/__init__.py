"""Files of events, each kind by the end of its name."""

from snnlab.data.formats.columns import TIME_UNITS as TIME_UNITS
from snnlab.data.formats.columns import Reading as Reading
from snnlab.data.formats.files import SUFFIXES as SUFFIXES
from snnlab.data.formats.files import read_array as read_array
from snnlab.data.formats.files import read_file as read_file
