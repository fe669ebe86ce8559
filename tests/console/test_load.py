"""Fifty uploads at once on two workers."""

import asyncio
from pathlib import Path

import httpx
import psutil

from console.supervisor import Console

UPLOADS = 50


def test_fifty_uploads_at_once(console: Console, api: httpx.Client, clips: dict[str, Path]) -> None:
    process = psutil.Process(console.pids()["api"])
    api.get("/readyz")
    before = process.memory_info().rss
    # Each 6 MB: a clip may be followed by anything, and the sum is six times what the process may grow by.
    data = clips["one_face.mp4"].read_bytes()
    padded = data + (5_900_000).to_bytes(4, "big") + b"free" + bytes(5_900_000 - 8)
    peak = before

    async def send() -> list[dict[str, object]]:
        nonlocal peak
        limits = httpx.Limits(max_connections=UPLOADS)
        async with httpx.AsyncClient(base_url=console.url, timeout=280, limits=limits, trust_env=False) as client:

            async def one(number: int) -> dict[str, object]:
                files = {"file": (f"{number}.mp4", padded)}
                answer = await client.post("/v1/analyses", files=files, data={"frames": "4", "detector": "trained_fake"})
                assert answer.status_code == 202, answer.text
                found = answer.json()
                while found["state"] not in ("done", "failed"):
                    found = (await client.get(found["links"]["self"], params={"wait": 60})).json()
                assert isinstance(found, dict)
                return found

            work = [asyncio.create_task(one(number)) for number in range(UPLOADS)]
            while not all(task.done() for task in work):
                await asyncio.sleep(0.1)
                peak = max(peak, process.memory_info().rss)
            return [task.result() for task in work]

    documents = asyncio.run(send())
    assert {document["label"] for document in documents} == {"FAKE"}
    assert {document["attempts"] for document in documents} == {1}
    assert len({document["id"] for document in documents}) == UPLOADS
    assert not [
        path for path in console.settings.uploads_dir.iterdir() if path.name in {document["id"] for document in documents}
    ]
    assert peak - before <= 50 * 2**20, f"{(peak - before) / 2**20:.1f} MiB"
