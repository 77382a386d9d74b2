"""The reference: the least a queue with history can do on a raw driver, and so the speed a product
is measured against.

Claims in batches, awaits a no-op per job, settles in batches; a task row and a run row per job,
with the columns and indexes of the contract, fenced; durable defaults. No retries, leases, runners,
limits, logs or statistics. `python -m benchmarks.reference LANE URL` works until it is ended.
"""
