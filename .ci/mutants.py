"""
Do the tests find faults? Plants one after the other into a copy of the repository, and runs the notebook concerned.

    python .ci/mutants.py                       all faults (many minutes)
    python .ci/mutants.py 04_dit ema-reversed   those of a notebook, and one by name
    python .ci/mutants.py --list                what there is
    python .ci/mutants.py --check               does every fault still have its place? (a second)

Each notebook runs as `.ci/test` runs it. Before a cell that is exported, the process is forked once for each fault of that
cell: the copy of the process gets the cell with the fault, and goes on to the first cell that fails, which has caught it.
The module made of the notebook has the same fault meanwhile, for whatever imports it. Nothing is changed in this folder.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

root = Path(__file__).resolve().parent.parent


class Fault(NamedTuple):
    name: str
    nb: str  # notebook in nbs/, `04_dit` or `lab/fit`, whose tests should see it
    old: str  # occurs once in the notebook's exported cells
    new: str  # what stands there instead


FAULTS = [
    # 01_diffusion: targets, weights, sampling
    Fault("x0-weighting-off", "01_diffusion", 'elif prediction == "x0":', "elif False:"),
    Fault("v-sign", "01_diffusion", "return a * noise - s * x0", "return a * noise + s * x0"),
    Fault(
        "posterior-variance",
        "01_diffusion",
        "variance = (1 - ᾱ_prev) / (1 - ᾱ) * β",
        "variance = β",
    ),
    Fault(
        "min-snr-of-epsilon",
        "01_diffusion",
        "dict(epsilon=snr, v=snr + 1, x0=1)",
        "dict(epsilon=snr + 1, v=snr + 1, x0=1)",
    ),
    Fault(
        "spatial-weight-off",
        "01_diffusion",
        "return (w * error).sum() / w.sum()",
        "return error.mean() + 0 * w.sum()",
    ),
    Fault(
        "noise-at-the-end",
        "01_diffusion",
        "        if t_prev >= 0:\n            x = x + variance.sqrt() * _randn(x, generator)",
        "        x = x + (1 - schedule.alpha_bar(t, x)).sqrt() * _randn(x, generator)",
    ),
    Fault(
        "grid-stops-early",
        "01_diffusion",
        "[round(T - k * T / n) - 1 for k in range(n)]",
        "[round((n - 1 - k) * T / n) for k in range(n)]",
    ),
    # 02_faces: mouths, crops, pasting
    Fault(
        "opening-of-outer-lips",
        "02_faces",
        "p[..., [61, 62, 63], :] - p[..., [67, 66, 65], :]",
        "p[..., [50, 51, 52], :] - p[..., [58, 57, 56], :]",
    ),
    Fault("crop-off-by-half", "02_faces", "TEMPLATE * size - 0.5", "TEMPLATE * size"),
    Fault("colours-unmatched", "02_faces", "return (crop + change).clip(0, 255)", "return crop"),
    # lab/landmarks: the 68 points
    Fault(
        "inner-lips-swapped",
        "lab/landmarks",
        "*[78, 82, 13, 312, 308, 317, 14, 87],",
        "*[78, 87, 14, 317, 308, 312, 13, 82],",
    ),
    # lab/track: a face through a clip
    Fault(
        "max-turn-ignored",
        "lab/track",
        "if mesh.turn > self.landmarker.max_turn:",
        "if mesh.turn > 180:",
    ),
    Fault(
        "smoothing-shrinks", "lab/track", "twice = once + blur(flat - once)", "twice = blur(once)"
    ),
    # 03_vqgan: shapes, latents
    Fault(
        "latent-mean-forgotten",
        "03_vqgan",
        "self.decode(z * σ + μ, quantize)",
        "self.decode(z * σ, quantize)",
    ),
    Fault(
        "stem-not-in-factor",
        "03_vqgan",
        "return self.stem * 2 ** (len(self.multipliers) - 1)",
        "return 2 ** (len(self.multipliers) - 1)",
    ),
    Fault("stem-unfolds-transposed", "03_vqgan", "x = self.unfold(h)", "x = self.unfold(h).mT"),
    # lab/quantizer: the codebook
    Fault(
        "straight-through-off",
        "lab/quantizer",
        "straight_through = z + (z_q - z).detach()",
        "straight_through = z_q",
    ),
    Fault("codebook-average-reversed", "lab/quantizer", "δ = self.decay", "δ = 1 - self.decay"),
    Fault(
        "dead-codes-stay",
        "lab/quantizer",
        "dead = (self.counts < self.dead)",
        "dead = (self.counts < 0)",
    ),
    # lab/losses: what the autoencoder is trained for
    Fault("adversarial-sign", "lab/losses", "adv = -disc(y).mean()", "adv = disc(y).mean()"),
    Fault(
        "commitment-zero",
        "lab/losses",
        "loss = rec + 0.25 * commitment",
        "loss = rec + 0 * commitment",
    ),
    Fault("hinge-pulls-fakes-up", "lab/losses", "F.relu(1 + score_fake)", "F.relu(1 - score_fake)"),
    Fault(
        "adaptive-weight-inverted",
        "lab/losses",
        "λ = pull_rec / (pull_adv + 1e-4)",
        "λ = pull_adv / (pull_rec + 1e-4)",
    ),
    # 04_dit: tokens, conditions
    Fault("adaln-gate-off", "04_dit", "x = x + gate1 * self.self_attn(", "x = x + self.self_attn("),
    Fault("adaln-second-gate-off", "04_dit", "x = x + gate2 * self.mlp(", "x = x + self.mlp("),
    Fault(
        "unpatchify-order", "04_dit", "h.permute(0, 5, 1, 3, 2, 4)", "h.permute(0, 5, 1, 4, 2, 3)"
    ),
    Fault(
        "kept-tokens-misplaced",
        "04_dit",
        "index_copy(1, self.keep, h)",
        "index_copy(1, torch.arange(len(self.keep)), h)",
    ),
    Fault(
        "kept-positions-misplaced",
        "04_dit",
        "sincos_positions(cfg.side, W)[keep]",
        "sincos_positions(cfg.side, W)[: len(keep)]",
    ),
    Fault(
        "second-reference-ignored",
        "04_dit",
        "known = torch.cat([masked, reference], 1)",
        "known = torch.cat([masked, *[reference[:, : c.channels]] * c.references], 1)",
    ),
    Fault(
        "time-token-lost",
        "04_dit",
        "        k = torch.cat([k, k_time], 2)  # (B,H,T+1,d)\n        v = torch.cat([v, v_time], 2)\n",
        "",
    ),
    # lab/embed: positions, windows of sound
    Fault(
        "columns-lost",
        "lab/embed",
        "place[None].expand(side, -1, -1)",
        "place[:, None].expand(-1, side, -1)",
    ),
    Fault(
        "sound-dropped-for-the-others",
        "lab/embed",
        "torch.where(drop[:, None, None], self.null.to(h.dtype), h)",
        "torch.where(drop[:, None, None], h, self.null.to(h.dtype))",
    ),
    # 05_audio: when features are heard
    Fault(
        "mel-25-ms-late",
        "05_audio",
        "pad(x, (_WINDOW // 2, _WINDOW // 2 + HOP))",
        "pad(x, (_WINDOW, HOP))",
    ),
    Fault(
        "windows-a-feature-late",
        "05_audio",
        "/ float(fps) + 2 * step",
        "/ float(fps) + 2 * step - 1",
    ),
    Fault("windows-half-as-wide", "05_audio", "/ float(fps) + 2 * step", "/ float(fps) + step"),
    Fault(
        "no-interpolation",
        "05_audio",
        "(at - low)[..., None].to(features.dtype)",
        "(0 * at)[..., None].to(features.dtype)",
    ),
    Fault("log-to-base-ten", "05_audio", "+ _MEL_FLOOR).log())", "+ _MEL_FLOOR).log10())"),
    Fault(
        "late-sound-moved-up", "05_audio", "aresample=async=1:first_pts=0,", "aresample=async=1,"
    ),
    Fault("noise-never-added", "05_audio", "torch.where(noisy > 0,", "torch.where(noisy > 99,"),
    # 06_ddim: samplers
    Fault(
        "eta-adds-variance",
        "06_ddim",
        "(1 - ᾱ_prev - σ**2).clamp(min=0)",
        "(1 - ᾱ_prev).clamp(min=0)",
    ),
    Fault(
        "second-order-wrong",
        "06_ddim",
        "return value + h / (2 * h_last) * (value - last)",
        "return value - h / (2 * h_last) * (value - last)",
    ),
    Fault(
        "flow-backwards",
        "06_ddim",
        "error = (out - (noise - x0)).square()",
        "error = (out - (x0 - noise)).square()",
    ),
    Fault(
        "guidance-away-from-sound",
        "06_ddim",
        "torch.lerp(model_uncond(x, t), cond, scale)",
        "torch.lerp(cond, model_uncond(x, t), scale)",
    ),
    # 09_data: what a batch is made of
    Fault("twin-conditions-off", "09_data", 'if (clip / "twin.npy").exists():', "if False:"),
    Fault(
        "mirroring-off",
        "09_data",
        "mirror = draw_each(seeds, (1,))[:, 0] < 0.5",
        "mirror = draw_each(seeds, (1,))[:, 0] < 0",
    ),
    Fault(
        "windows-of-clips-late",
        "09_data",
        "audio_windows(features, rows[-1] + 1, frame_rate(clip))[rows]",
        "audio_windows(features[1:], rows[-1] + 1, frame_rate(clip))[rows]",
    ),
    Fault(
        "reference-close-by", "09_data", "gap=np.full(n, min(gap, m // 2)),", "gap=np.full(n, 0),"
    ),
    Fault(
        "reference-of-like-mouth",
        "09_data",
        ".square().sum(-1).argmax(1)",
        ".square().sum(-1).argmin(1)",
    ),
    Fault(
        "mouth-not-hidden",
        "09_data",
        "hidden = _encode(masked, other, rows, lambda x: hide(x, mask))",
        "hidden = _encode(masked, other, rows)",
    ),
    Fault(
        "people-in-both-halves",
        "09_data",
        'return re.sub(rf"(_twin|_\\d+|_({ends}))+$", "", c.name)',
        "return c.name",
    ),
    # lab/encoders: sound and pictures of a clip
    Fault(
        "streams-offset-reversed",
        "lab/encoders",
        "from_moment(load_audio(info.path, first=first), offset)",
        "from_moment(load_audio(info.path, first=first), -offset)",
    ),
    # 10_train: the losses
    Fault("sound-dropout-off", "10_train", "dropped = u[:, 0] < drop", "dropped = u[:, 0] < 0"),
    Fault(
        "mouth-box-transposed",
        "10_train",
        "w[..., y0:y1, x0:x1] = mouth",
        "w[..., x0:x1, y0:y1] = mouth",
    ),
    Fault("mouth-loss-off", "10_train", "return diff + mouth * aux,", "return diff,"),
    Fault("projector-warmup-off", "10_train", "if step < warmup:", "if step < 0:"),
    Fault(
        "codes-move-in-validation",
        "10_train",
        "net.quantizer.train(net.training and not decoder_only)",
        "net.quantizer.train(not decoder_only)",
    ),
    # lab/trainer, lab/loader: a step, its batch
    Fault(
        "ema-reversed",
        "lab/trainer",
        "torch._foreach_lerp_(averaged, current, 1 - d)",
        "torch._foreach_lerp_(averaged, current, d)",
    ),
    Fault(
        "buffers-averaged",
        "lab/trainer",
        "AveragedModel(model, multi_avg_fn=average)",
        "AveragedModel(model, multi_avg_fn=average, use_buffers=True)",
    ),
    Fault(
        "every-step-the-same-batch",
        "lab/loader",
        "return seed * 1_000_003 + step",
        "return seed * 1_000_003",
    ),
    # lab/detail: whose teeth a dub gets
    Fault(
        "teeth-deaf-to-the-sound",
        "lab/detail",
        "seen + 2 * np.square(exemplars.shapes - heard)",
        "seen + 0 * np.square(exemplars.shapes - heard)",
    ),
    Fault(
        "teeth-of-the-same-moment",
        "lab/detail",
        "error[np.abs(exemplars.frames - frame) < apart] = np.inf",
        "error[np.abs(exemplars.frames - frame) < 0] = np.inf",
    ),
]


def copy_repository(to: Path) -> None:
    "What a notebook needs to run: the package, the notebooks, the samples (these as a link), the settings."
    (to / "nbs").mkdir(parents=True)
    for name in ("settings.ini", "README.md"):
        shutil.copy(root / name, to / name)
    for name in ("data_samples", ".ci"):
        (to / name).symlink_to(root / name)
    (to / "dithead_lite").mkdir()
    for p in (root / "dithead_lite").iterdir():
        if p.suffix == ".py":
            shutil.copy(p, to / "dithead_lite" / p.name)
        elif p.name != "__pycache__":
            (to / "dithead_lite" / p.name).symlink_to(p)
    (to / "nbs" / "images").symlink_to(root / "nbs" / "images")
    for nb in notebooks():
        path = to / "nbs" / f"{nb}.ipynb"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(root / "nbs" / f"{nb}.ipynb", path)


def notebooks() -> list[str]:
    "All notebooks, as a fault names them; not those that begin with a dot or an underscore."
    folder = root / "nbs"
    paths = [*folder.glob("[!._]*.ipynb"), *folder.glob("lab/[!._]*.ipynb")]
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in paths)


class Misplaced(Exception):
    "A fault whose old text is not found exactly once."


def place(fault: Fault, copy: Path) -> tuple[int, Path]:
    "Number of the notebook's cell that a fault belongs to, and the module; both have its text once."
    path = copy / "nbs" / f"{fault.nb}.ipynb"
    if not path.exists():
        raise Misplaced(f"{fault.name}: there is no notebook nbs/{fault.nb}.ipynb.")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) if c["cell_type"] == "code" else "" for c in cells]
    name = next(s.split()[-1] for s in sources if s.startswith("#| default_exp"))
    module = copy / "dithead_lite" / f"{name}.py"
    exported = [k for k, s in enumerate(sources) if s.startswith("#| export")]
    found = [k for k in exported for _ in range(sources[k].count(fault.old))]
    there = module.read_text(encoding="utf-8").count(fault.old)
    for file, times in ((path, len(found)), (module, there)):
        if times != 1:
            file = file.relative_to(copy)
            says = f"{fault.old!r} occurs {times} times in {file}; expected once."
            raise Misplaced(f"{fault.name}: {says}")
    return found[0], module


def check_places(faults: list[Fault]) -> list[str]:
    "What is wrong with the places of faults, a line for each of these."
    complaints = []
    for f in faults:
        try:
            place(f, root)
        except Misplaced as e:
            complaints.append(str(e))
    return complaints


def passed_over(cell, flags: set[str]) -> bool:
    "True for cells that a test doesn't run, as for nbdev_test."
    if cell.cell_type != "code" or "nbdev_export" + "(" in cell.source:
        return True
    directives = getattr(cell, "directives_", None) or {}
    return directives.get("eval:", [""])[0].lower() == "false" or bool(flags & directives.keys())


def failure(shell, cell) -> str:
    "Which cell has failed, and in which line."
    lines = cell.source.splitlines()
    frames = traceback.extract_tb(shell.exc.__traceback__)
    own = [f.lineno for f in frames if f.name == "<module>" and 0 < f.lineno <= len(lines)]
    line = lines[own[-1] - 1].strip()[:70] if own else ""
    return f"cell {cell.idx_}: `{line}` ({type(shell.exc).__name__})"


def go_on(shell, cells: list) -> str:
    "Run cells up to the first that fails; says which, or nothing."
    for cell in cells:
        shell.cell(cell)
        if shell.exc:
            return failure(shell, cell)
    return ""


def with_fault(fault: Fault, module: Path, shell, cells: list, limit: float) -> str:
    "What a forked copy of this process says of the rest of the notebook, with the fault in its first cell."
    text, out = module.read_text(encoding="utf-8"), module.with_suffix(".result")
    module.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    files = Path(tempfile.gettempdir())
    shutil.copytree(files, f"{files}.kept", symlinks=True)
    child = os.fork()
    if not child:
        os.setpgrp()
        sys.modules.pop(f"dithead_lite.{module.stem}", None)
        cells[0].source = cells[0].source.replace(fault.old, fault.new)
        out.write_text(go_on(shell, cells), encoding="utf-8")
        os._exit(0)
    end = time.monotonic() + limit
    while not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.1)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
    module.write_text(text, encoding="utf-8")
    shutil.rmtree(files)
    os.rename(f"{files}.kept", files)  # as the notebook left its files before
    if out.exists():
        said = out.read_text(encoding="utf-8")
        out.unlink()
        return said
    return f"no end within {limit:.0f} s" if time.monotonic() > end else "the process broke off"


def run_notebook(copy: Path, nb: str, faults: list[Fault], limit: float) -> None:
    """
    Run a notebook of a copy, without and with its faults; a line of the table for each of these.
    It ends behind the last cell that has noticed a fault: this cell has to pass without one.
    """
    from execnb.shell import CaptureShell
    from nbdev.config import get_config
    from nbdev.process import NBProcessor
    from nbdev.processors import FrontmatterProc

    path, flags = copy / "nbs" / f"{nb}.ipynb", set(get_config().tst_flags.split())
    cells = NBProcessor(path, procs=FrontmatterProc, process=True).nb.cells
    cells = [c for c in cells if not passed_over(c, flags)]
    places = {f: place(f, copy) for f in faults}
    last = max(number for number, _ in places.values())
    shell = CaptureShell(path)
    os.chdir(path.parent)
    for k, cell in enumerate(cells):
        if cell.idx_ > last:
            return
        for f in faults:
            if places[f][0] == cell.idx_:
                began = time.monotonic()
                stopped = with_fault(f, places[f][1], shell, cells[k:], limit)
                noticed = re.match(r"cell (\d+)", stopped)
                last = max(last, int(noticed[1]) if noticed else 0)
                said = stopped.replace("|", "\\|") or "SURVIVED"
                took = time.monotonic() - began
                print(f"| {f.name} | {nb} | {said} | {took:.0f} |", flush=True)
        stopped = go_on(shell, [cell])
        if stopped:
            sys.exit(f"{nb} fails without any fault, {stopped}. Mend that first.")


def start(copy: Path, nb: str, faults: list[Fault], limit: float) -> list[str]:
    "`run_notebook` in a fresh process, whose modules are the copy's; the lines of its table."
    env = {
        **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        **os.environ,
        **{"MPLBACKEND": "Agg", "PYTHONPATH": str(copy), "IN_TEST": "1"},
        "TMPDIR": str(copy / "tmp"),
    }
    (copy / "tmp").mkdir(exist_ok=True)
    words = [sys.executable, __file__, *(f.name for f in faults), "--limit", str(limit)]
    lines = []
    with subprocess.Popen(
        [*words, "--inside", str(copy)], cwd=copy, env=env, stdout=subprocess.PIPE, text=True
    ) as p:
        for line in p.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if p.returncode:
        sys.exit(f"{nb}: {len(lines)} of {len(faults)} faults were tried.")
    return lines


def chosen(words: list[str]) -> list[Fault]:
    "The faults that were asked for: by name, or all of a notebook."
    known = {f.name for f in FAULTS} | {f.nb for f in FAULTS}
    words = [w.removeprefix("nbs/").removesuffix(".ipynb") for w in words]
    unknown = [w for w in words if w not in known]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: no such fault or notebook; --list names them all.")
    return [f for f in FAULTS if not words or f.name in words or f.nb in words]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    p.add_argument("names", nargs="*", help="faults or notebooks; without any: all faults")
    p.add_argument("--list", action="store_true", help="name the faults, run nothing")
    p.add_argument("--check", action="store_true", help="look for the faults' places, run nothing")
    p.add_argument("--limit", type=float, default=1200, help="seconds for one fault (1200)")
    p.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = p.parse_args()
    faults = chosen(args.names)
    if args.inside:
        run_notebook(args.inside, faults[0].nb, faults, args.limit)
        return
    if args.list:
        for f in faults:
            print(f"{f.nb:14} {f.name}")
        return
    misplaced = check_places(faults)
    if misplaced:
        sys.exit("\n".join(misplaced))
    if args.check:
        print(f"{len(faults)} faults have their places")
        return
    lines = []
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "repository"
        copy_repository(copy)
        print("| fault | notebook | caught by | seconds |\n|---|---|---|---|", flush=True)
        for nb in dict.fromkeys(f.nb for f in faults):
            lines += start(copy, nb, [f for f in faults if f.nb == nb], args.limit)
    survived = [line.split("|")[1].strip() for line in lines if "| SURVIVED |" in line]
    print(f"\n{len(lines) - len(survived)} of {len(lines)} faults caught; survived: {survived}")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
