"""Posting: an application that enqueues over HTTP, for `enqueue`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2

from benchmarks.history import served
from benchmarks.lanes import Lane
from benchmarks.machine import Meter, cpu_of
from benchmarks.race import Sample


class Posted:
    """Clients that post to `taskyard web`, each on a connection that it keeps.

    `size` is the number of tasks in a request: 1 goes to `tasks`, more to `tasks/bulk`. The CPU of
    the worker is here the API's.
    """

    def __init__(self, lane: Lane, queue: str, way: str, tasks: int, clients: int, size: int):
        self.name = f"HTTP, {way}"
        self._lane = lane
        self._tasks = tasks
        self._clients = clients
        self._path = "/api/v1/tasks" if size == 1 else "/api/v1/tasks/bulk"
        task = {"task_type": "noop", "task_params": {}, "queue": queue}
        self._body: dict[str, Any] = task if size == 1 else {"tasks": [task] * size}
        self._requests = tasks // size // clients

    def measure(self) -> Sample:
        with served(self._lane) as (client, server), ThreadPoolExecutor(self._clients) as threads:
            self._post(client, 1)  # what is read at the first request is read now
            meter, worked = Meter([], self._lane.store), cpu_of(server.pid)
            began = time.perf_counter()
            posts = [threads.submit(partial(self._post_all, client)) for _ in range(self._clients)]
            for post in posts:
                post.result()
            seconds = time.perf_counter() - began
            usage = replace(meter.read(), worker=cpu_of(server.pid) - worked)
        return Sample(self._tasks, seconds, usage)

    def _post_all(self, like: httpx2.Client) -> None:
        with httpx2.Client(base_url=like.base_url, headers=like.headers, timeout=60) as client:
            self._post(client, self._requests)

    def _post(self, client: httpx2.Client, requests: int) -> None:
        for _ in range(requests):
            client.post(self._path, json=self._body).raise_for_status()
