"""The reference: the least a queue with history can do on a raw driver, and so the speed a product
is measured against.

Claims in batches, awaits a no-op per job, settles in batches; a task row and a run row per job,
fenced; durable defaults. No retries, leases, runners, limits or logs. `python -m
benchmarks.reference LANE URL` works until it is ended.
"""
