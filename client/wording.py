"""Verdicts in words a layman understands. The console, the reports and the terminal say the same."""

import unicodedata

from client.verdict import Label, Reason, ServedModel, Verdict
from preprocess import REASONS

_HEADLINES: dict[Label | Reason, str] = {
    "FAKE": "Signs of face manipulation found",
    "REAL": "No signs of face manipulation found",
    "UNCERTAIN": "The detector cannot decide",
    "no_face": "No verdict: there is no face to judge",
    "face_too_small": "No verdict: the faces are too small",
    "face_too_blurry": "No verdict: the faces are too blurry",
    "face_too_dark": "No verdict: the faces are too dark",
    "no_usable_face": "No verdict: the faces cannot be seen well enough",
    "too_few_frames": "No verdict: nobody is seen for long enough",
    "untrained_model": "No verdict: the detector is untrained",
}
_REASONS: dict[Reason, str] = {
    "no_face": "No face was found in the frames that were looked at.",
    "face_too_small": "Faces were seen, but too small to be judged.",
    "face_too_blurry": "Faces were seen, but too blurry to be judged.",
    "face_too_dark": "Faces were seen, but too dark to be judged.",
    "no_usable_face": "Faces were seen, but none clearly enough to be judged.",
    "too_few_frames": "No person was seen in enough frames to be judged.",
    "untrained_model": "The detector was never trained, so its scores mean nothing. They are shown for technical checks only.",
}
_SEMANTICS = {
    "sequence": "reads the frames in order; the score of a frame is that of the clip up to and with it",
    "reference_last_frame": "as its original is served: only each person's last frame counts",
    "image": "judges each frame alone and takes the mean",
}


def headline(verdict: Verdict) -> str:
    """A few words."""
    return _HEADLINES[verdict.reason or verdict.label]


def explanation(verdict: Verdict) -> str:
    """A sentence or two on how the verdict came about."""
    if verdict.reason is not None:
        return _REASONS[verdict.reason]
    assert verdict.score is not None
    score = number(verdict.score)
    scored = sum(track.score is not None for track in verdict.tracks)
    who = "the face" if scored == 1 else f"the most suspicious of {scored} people"
    if verdict.label == "UNCERTAIN":
        band = f"{number(verdict.abstain_low)} and {number(verdict.abstain_high)}"
        return f"The score of {who} is {score}. Between {band} the detector is wrong too often to say either."
    side = "at or above" if verdict.label == "FAKE" else "below"
    return f"The score of {who} is {score}, {side} the detector's threshold of {number(verdict.threshold)}."


def limits(verdict: Verdict) -> str:
    """What the verdict does not mean."""
    if verdict.label == "FAKE":
        return (
            "This is not proof. Heavy compression, filters, make-up and unusual cameras can mislead a detector, and it cannot "
            "say who changed what or why. Look for the original and a second source before you act on it."
        )
    if verdict.label == "REAL":
        return (
            "This does not prove the recording genuine. Only faces were examined: not the voice, the scene, the captions or "
            "the cut; and methods that the detector has never seen can pass unnoticed."
        )
    if verdict.label == "UNCERTAIN":
        return (
            "This is neither a suspicion nor an all-clear. A longer, sharper or less compressed copy may give a clear answer."
        )
    return "Nothing is said about whether this material is genuine or manipulated."


def field_caveat() -> str:
    """What is known of all detectors of this kind."""
    return (
        "Published deepfake detectors lose about half of their AUC on videos from the wild (Deepfake-Eval-2024). "
        "A score is one clue among others."
    )


def reason(code: Reason | None) -> str:
    """A reason code as a sentence; empty for None."""
    return _REASONS[code] if code else ""


def dropped(code: str) -> str:
    """Why a frame is in no clip; codes that are new are shown as they are."""
    return REASONS.get(code, code.replace("_", " "))


def semantics(model: ServedModel) -> str:
    """How the head turns frames into a score."""
    return _SEMANTICS[model.info.semantics]


def number(value: float) -> str:
    """A score with three decimals, cut rather than rounded: 0.4999 must not read as 0.500 beside a threshold of 0.500."""
    return f"{int(value * 1000 + 1e-9) / 1000:.3f}"


def printable(text: str) -> str:
    """Text of others (file names) for people's eyes.

    Control characters (terminal escapes), bidirectional overrides (a name that reads ``gpj.exe`` backwards) and bytes that
    are no UTF-8 are shown as escapes.
    """
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else f"\\u{ord(character):04x}"
        for character in text
    )
