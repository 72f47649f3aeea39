"""Reads an interval log with the `hdrhistogram` package of PyPI and tells, as one line of JSON for
each tag, what all its intervals amount to. Used by the test `the_python_tools_read_the_interval_log`."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

HIGHEST_US = 100_000_000
DIGITS = 3

reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, HIGHEST_US, DIGITS))
sums = {}
while (interval := reader.get_next_interval_histogram()) is not None:
    tag = interval.get_tag()
    entry = sums.setdefault(tag, {"sum": HdrHistogram(1, HIGHEST_US, DIGITS), "begins": []})
    entry["sum"].add(interval)
    entry["begins"].append(interval.get_start_time_stamp())
for tag, entry in sums.items():
    total = entry["sum"]
    print(json.dumps({
        "tag": tag,
        "count": total.get_total_count(),
        "quantiles": [total.get_value_at_percentile(p) for p in (50, 90, 99, 99.9, 99.99, 100)],
        "intervals": len(entry["begins"]),
        "first_begin_ms": entry["begins"][0],
    }))
