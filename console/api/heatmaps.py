"""Where the detector looked: exact Grad-CAM of a result, as numbers and as pictures to lay over the crops."""

import json
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from client import Verdict
from client.model_info import explainer_name
from console import heat_picture
from console.api.analyses import AnalysisId, problem_responses
from console.api.results import Number, artefacts_dir, finished
from console.documents import FrameMap, HeatMapsDocument, TrackMapsDocument
from console.errors import NotFound
from console.heatmaps import TrackMaps
from console.identity import caller
from console.services import services_of

router = APIRouter(prefix="/v1/analyses/{analysis_id}/heatmaps", tags=["results"], dependencies=[Depends(caller)])
_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "PNG with transparency"}
}
_DIGITS = 7


@router.get(
    "",
    response_model=HeatMapsDocument,
    responses=problem_responses(401, 404, 409, 421, 422, 429, 503),
    summary="Where the detector looked, as numbers",
)
async def heatmaps(request: Request, analysis_id: AnalysisId) -> HeatMapsDocument:
    """Computed when they are first asked for, which takes about as long as the analysis did, and kept with the result."""
    verdict, maps = await _maps(request, analysis_id)
    tracks = []
    for item in maps:
        frames = next(track.frames for track in verdict.tracks if track.track_id == item.track_id)
        tracks.append(
            TrackMapsDocument(
                track_id=item.track_id,
                score=item.score,
                largest=round(item.largest, _DIGITS),
                frames=[
                    FrameMap(
                        frame_index=frame.frame_index,
                        heatmap=_rounded(heat),
                        evidence=_rounded(evidence),
                        png=f"/v1/analyses/{analysis_id}/heatmaps/{item.track_id}/{frame.frame_index}.png",
                    )
                    for frame, heat, evidence in zip(frames, item.heatmaps, item.evidence, strict=True)
                ],
            )
        )
    return HeatMapsDocument(
        detector=verdict.model.info.detector,
        explainer=explainer_name(verdict.model.info.detector),
        crop_px=verdict.preprocessing.image_size_px,
        tracks=tracks,
    )


@router.get(
    "/{track_id}/{frame_index}.png",
    response_class=Response,
    responses={**_PNG, **problem_responses(401, 404, 409, 421, 422, 429, 503)},
    summary="Where the detector looked, as a picture",
)
async def picture(request: Request, analysis_id: AnalysisId, track_id: Number, frame_index: Number) -> Response:
    """To lay over ``/crops/{track_id}/{frame_index}.jpg``: of its size, and clear where nothing raised the score. Colours are scaled by the
    largest value of the person's whole clip."""
    verdict, maps = await _maps(request, analysis_id)
    for item in maps:
        frames = next(track.frames for track in verdict.tracks if track.track_id == item.track_id)
        for position, frame in enumerate(frames):
            if (item.track_id, frame.frame_index) == (track_id, frame_index):
                content = heat_picture.png(item.heatmaps[position], item.largest, verdict.preprocessing.image_size_px)
                return Response(content, media_type="image/png", headers={"cache-control": "private, max-age=86400, immutable"})
    raise NotFound(f"person {track_id} has no frame {frame_index} in this result; the verdict names the frames that there are")


async def _maps(request: Request, analysis_id: str) -> tuple[Verdict, tuple[TrackMaps, ...]]:
    services = services_of(request)
    row = await run_in_threadpool(finished, services, analysis_id)
    assert row.verdict is not None
    verdict = Verdict.from_dict(json.loads(row.verdict))
    return verdict, await services.heatmaps.of(artefacts_dir(services, row), verdict)


def _rounded(values: Any) -> list[list[float]]:
    return [[round(float(value), _DIGITS) for value in line] for line in values]
