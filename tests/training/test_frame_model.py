"""Blocks that have not learned are their shortcuts, so leaving them out changes nothing."""

import torch

from training.frame_model import FrameModel, without_idle_blocks


def test_idle_blocks_may_be_left_out() -> None:
    torch.manual_seed(0)
    model = FrameModel().eval()
    torch.nn.init.normal_(model.encoder.backbone.get_parameter("layer2.1.bn3.weight"))
    frames = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    lean = without_idle_blocks(model.encoder)
    with torch.no_grad():
        assert torch.equal(model.encoder(frames), lean(frames))
    assert sum(1 for _ in lean.parameters()) < sum(1 for _ in model.encoder.parameters())
    # The one that has learned is still there.
    assert "layer2.1.bn3.weight" in dict(lean.backbone.named_parameters())


def test_first_filters_are_blind_to_smooth_light() -> None:
    torch.manual_seed(0)
    conv = FrameModel().encoder.backbone.conv1
    slope = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    with torch.no_grad():
        answers = conv(slope)[0, :, 4:-4, 4:-4].abs().amax((1, 2))
    assert float(answers[:48].max()) < 1e-5
    assert float(answers[48:].max()) > 1e-2
