"""What bench/datastore measures of Metaflow: metaflow.py put|get local|s3 ROOT KEYS FILE COUNT, one JSON line of the cost."""

import json
import resource
import sys
import time

from metaflow.datastore import FlowDataStore


def storage(kind):
    if kind == "s3":
        from metaflow.plugins.datastores.s3_storage import S3Storage

        return S3Storage
    from metaflow.plugins.datastores.local_storage import LocalStorage

    return LocalStorage


def cpu():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


def main(what, kind, root, keys, file, count):
    flow = FlowDataStore("F", storage_impl=storage(kind), ds_root=root)
    count = int(count)
    size = 0
    if what == "put":
        with open(file, "rb") as f:
            data = f.read()
        piece = -(-len(data) // count)
        blobs = [data[i * piece : (i + 1) * piece] for i in range(count)]
        del data
        began, used = time.monotonic(), cpu()
        results = flow.ca_store.save_blobs(iter(blobs), len_hint=count)
        size = sum(len(b) for b in blobs)
        with open(keys, "w") as f:
            f.write("\n".join(r.key for r in results))
    else:
        with open(keys) as f:
            names = f.read().split()
        began, used = time.monotonic(), cpu()
        for _, blob in flow.ca_store.load_blobs(names):
            size += len(blob)
    print(json.dumps({"wall": time.monotonic() - began, "cpu": cpu() - used, "bytes": size, "rss": peak()}))


main(*sys.argv[1:])
