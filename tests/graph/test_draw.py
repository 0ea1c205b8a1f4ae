"""A plan as a mermaid flowchart."""

from serve_app.graph.draw import mermaid
from tests.graph.tiny import plan

DRAWING = """\
flowchart LR
    in_prompt(["prompt"])
    in_seed(["seed"])
    in_steps(["steps"])
    at_draft["draft<br/>make"]
    in_prompt -->|prompt| at_draft
    in_seed -->|seed| at_draft
    in_steps -.->|steps| at_draft
    at_judge["judge<br/>judge"]
    at_draft -->|clip| at_judge
    at_gate{"gate<br/>gate"}
    at_draft -->|clip| at_gate
    at_judge -->|score| at_gate
    at_file["file<br/>encode"]
    at_gate -->|clip| at_file
    out_video[/"video"/]
    at_file --> out_video
    out_score[/"score"/]
    at_judge --> out_score"""


def test_inputs_are_round_gates_are_diamonds_outputs_slant_and_a_param_hangs_on_a_dotted_wire() -> None:
    assert mermaid(plan()) == DRAWING


def test_words_of_mermaids_own_are_names_like_any_other() -> None:
    changes = {"nodes.end": {"use": "encode", "take": {"clip": "gate"}}, "nodes.file": None, "outputs.video": "end"}
    lines = [line.strip() for line in mermaid(plan(changes)).splitlines()]
    assert 'at_end["end<br/>encode"]' in lines
    assert not any(line.startswith("end") for line in lines)
