"""What happened and what to do about it, in words a layman understands, by reason code."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """A headline and a remedy."""

    title: str
    remedy: str


_DAMAGED = Advice(
    "This file cannot be read",
    "Copy or download it again; if it plays nowhere, it is damaged. Otherwise convert it to MP4 (H.264).",
)
_SERVER = Advice(
    "The detector’s server does not answer",
    "Nothing is wrong with your file. Try again in a minute; if it lasts, tell whoever runs the console (`unmask doctor`).",
)
_MODEL = Advice(
    "This detector is not served",
    "Choose another one under Options, or look at the Models page. Whoever runs the console builds detectors with `unmask export`.",
)
_OPTION = Advice("An option does not fit", "Change it and send the file again.")
_LIMIT = Advice(
    "This file is more than the console takes", "Cut the video, scale it down, or look at a shorter part of it (Options)."
)
_ADVICE = {
    "not_found": Advice("There is nothing here", "Look in the history. Results are deleted after their time, or by somebody."),
    "no_result": Advice("There is no report of this file", "Its analysis failed; its page says why."),
    "not_finished": Advice("Not finished yet", "Wait for the analysis to end; its page follows it."),
    "too_large": Advice("This file is too large", "Cut or compress it, or ask whoever runs the console to raise the limit."),
    "unsupported_media": Advice(
        "This is not a video or picture",
        "Give an MP4, MOV, MKV, WebM, AVI, MPEG, GIF, JPEG, PNG or WebP. What counts is the content, not the name.",
    ),
    "names_other_files": Advice("This file only points to other files", "Give the video itself, not a playlist."),
    "empty_file": Advice("This file is empty", "Copy or download it again."),
    "undecodable": _DAMAGED, "decoder_crashed": _DAMAGED, "changed_while_read": _DAMAGED,
    "too_many_pixels": _LIMIT, "too_long": _LIMIT, "too_many_frames": _LIMIT, "timeout": _LIMIT, "out_of_memory": _LIMIT,
    "empty_span": Advice("Nothing lies in the chosen part", "Choose seconds within the video’s length."),
    "clip_too_short": Advice("The video is shorter than that", "Ask for fewer frames."),
    "unreachable": _SERVER, "connection_lost": _SERVER, "overloaded": _SERVER, "deadline_exceeded": _SERVER, "server_failed": _SERVER,
    "detector_not_found": _MODEL, "invalid_frames": _OPTION, "invalid_option": _OPTION, "bad_option": _OPTION,
    "face_model_missing": Advice("The face detector is not installed", "Whoever runs the console: `unmask setup`."),
    "no_heatmaps": Advice("There is nothing to explain", "Its page says why nobody was scored; or check the file again."),
    "no_explainer": Advice("This server has no heat maps", "Whoever runs it builds them: `unmask export --explainer`."),
    "model_changed": Advice("The detector was replaced since", "Check the file again."),
    "key_required": Advice("Please sign in", "This console asks for an API key."),
    "rate_limited": Advice("Too many requests", "Wait a minute and try again."),
    "queue_full": Advice("Too many files are waiting", "Try again in a few minutes."),
    "disk_full": Advice("The console’s disk is full", "Delete results that are no longer needed, or tell whoever runs it."),
    "database_down": Advice("The console’s database does not answer", "Try again in a minute; if it lasts, tell whoever runs the console."),
    "cross_site": Advice("This came from another page", "Open the console itself and try again there."),
    "host_not_allowed": Advice("This is not the console’s name", "Use the address that it printed when it started."),
    "interrupted": Advice("The analysis was interrupted", "Upload the file once more. If it happens again, the file is suspect."),
    "upload_missing": Advice("The upload did not reach the worker", "Nothing is wrong with your file. Tell whoever runs the console."),
    "bad_upload": Advice("The upload did not arrive whole", "Send the file again."),
    "upload_timeout": Advice("The upload took too long", "Look at the connection and send the file again."),
}  # fmt: skip
_UNKNOWN = Advice("Something went wrong", "Try again. If it lasts, tell whoever runs the console, with the error code.")


def advice(code: str | None) -> Advice:
    """By reason code; there is always some."""
    return _ADVICE.get(code or "", _UNKNOWN)
