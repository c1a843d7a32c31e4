"""
Do the tests find faults? Plants one after the other into a copy of the repository, and runs the notebook concerned.

    python .ci/mutants.py                       all faults (many minutes)
    python .ci/mutants.py 04_dit ema-reversed   those of a notebook, and one by name
    python .ci/mutants.py --list                what there is

Each notebook runs as `.ci/test` runs it. Before a cell that is exported, the process is forked once for each fault of that
cell: the copy of the process gets the cell with the fault, and goes on to the first cell that fails, which has caught it.
The module made of the notebook has the same fault meanwhile, for whatever imports it. Nothing is changed in this folder.
"""

import argparse
import json
import os
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
    nb: str  # notebook in nbs/, whose tests should see it
    old: str  # occurs once in the notebook's exported cells
    new: str  # what stands there instead


FAULTS = [
    # 02_faces: landmarks, alignment, pasting
    Fault(
        "inner-lips-swapped",
        "02_faces",
        "*[78, 82, 13, 312, 308, 317, 14, 87],",
        "*[78, 87, 14, 317, 308, 312, 13, 82],",
    ),
    Fault("max-turn-ignored", "02_faces", "if turn > self.of.max_turn:", "if turn > 180:"),
    Fault(
        "opening-of-outer-lips",
        "02_faces",
        "p[..., [61, 62, 63], :] - p[..., [67, 66, 65], :]",
        "p[..., [50, 51, 52], :] - p[..., [58, 57, 56], :]",
    ),
    Fault("smoothing-shrinks", "02_faces", "g = g + blur(flat - g)", "g = blur(g)"),
    Fault("crop-off-by-half", "02_faces", "TEMPLATE * size - 0.5", "TEMPLATE * size"),
    Fault("colours-unmatched", "02_faces", "return (crop + change).clip(0, 255)", "return crop"),
    # 01_diffusion: targets, weights, sampling
    Fault(
        "x0-weighting-off",
        "01_diffusion",
        "if prediction == 'x0' and min_snr is None:",
        "if False:",
    ),
    Fault("v-sign", "01_diffusion", "v=a*noise - s*x0", "v=a*noise + s*x0"),
    Fault(
        "posterior-variance",
        "01_diffusion",
        "return mean, (1-ᾱ_prev)/(1-ᾱ)*(1-α)",
        "return mean, 1-α",
    ),
    Fault("min-snr-of-epsilon", "01_diffusion", "epsilon=snr, x0=1)", "epsilon=snr+1, x0=1)"),
    Fault(
        "spatial-weight-off",
        "01_diffusion",
        "return (w*se).sum()/w.sum()",
        "return se.mean() + 0*w.sum()",
    ),
    Fault(
        "noise-at-the-end",
        "01_diffusion",
        "x = mean + var.sqrt()*_randn(x, generator) if t_prev >= 0 else mean",
        "x = mean + (1-schedule.alpha_bar(t, x)).sqrt()*_randn(x, generator)",
    ),
    Fault(
        "grid-stops-early",
        "01_diffusion",
        "[round(T - k*T/n)-1 for k in range(n)]",
        "[round((n-1-k)*T/n) for k in range(n)]",
    ),
    # 03_vqgan: quantizer, losses, shapes
    Fault(
        "straight-through-off", "03_vqgan", "return z + (z_q-z).detach(), idx,", "return z_q, idx,"
    ),
    Fault("adversarial-sign", "03_vqgan", "adv = -disc(y).mean()", "adv = disc(y).mean()"),
    Fault("commitment-zero", "03_vqgan", "loss = rec + .25*c", "loss = rec + 0*c"),
    Fault(
        "codebook-average-reversed",
        "03_vqgan",
        "n, sums = self._members(flat, idx); δ = self.decay",
        "n, sums = self._members(flat, idx); δ = 1 - self.decay",
    ),
    Fault(
        "dead-codes-stay",
        "03_vqgan",
        "dead = (self.counts < self.dead)",
        "dead = (self.counts < 0)",
    ),
    Fault(
        "hinge-pulls-fakes-up",
        "03_vqgan",
        "F.relu(1+disc(fake.detach()))",
        "F.relu(1-disc(fake.detach()))",
    ),
    Fault("adaptive-weight-inverted", "03_vqgan", "(g_rec/(g_adv+1e-4))", "(g_adv/(g_rec+1e-4))"),
    Fault(
        "latent-mean-forgotten",
        "03_vqgan",
        "z*self.latent_std[:, None, None]+self.latent_mean[:, None, None]",
        "z*self.latent_std[:, None, None]",
    ),
    Fault(
        "stem-not-in-factor",
        "03_vqgan",
        "return self.stem*2**(len(self.multipliers)-1)",
        "return 2**(len(self.multipliers)-1)",
    ),
    Fault(
        "stem-unfolds-transposed",
        "03_vqgan",
        "x = self.unfold(self.conv_out(F.silu(self.norm_out(self.levels(self.mid(self.conv_in(z)))))))",
        "x = self.unfold(self.conv_out(F.silu(self.norm_out(self.levels(self.mid(self.conv_in(z))))))).mT",
    ),
    # 04_dit: positions, tokens, conditions
    Fault("adaln-gate-off", "04_dit", "x = x + g1*self.self_attn(", "x = x + self.self_attn("),
    Fault("adaln-second-gate-off", "04_dit", "return x + g2*self.mlp(", "return x + self.mlp("),
    Fault(
        "columns-lost",
        "04_dit",
        "one[None].expand(side, -1, -1)",
        "one[:, None].expand(-1, side, -1)",
    ),
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
        "sincos_positions(cfg.size//p, W)[keep]",
        "sincos_positions(cfg.size//p, W)[:len(keep)]",
    ),
    Fault(
        "second-reference-ignored",
        "04_dit",
        "self.embed_known(torch.cat([masked, reference], 1))",
        "self.embed_known(torch.cat([masked, *[reference[:, :c.channels]]*c.references], 1))",
    ),
    Fault(
        "sound-dropped-for-the-others",
        "04_dit",
        "torch.where(drop[:, None, None], self.null.to(h.dtype), h)",
        "torch.where(drop[:, None, None], h, self.null.to(h.dtype))",
    ),
    Fault(
        "time-token-lost",
        "04_dit",
        "kv = tuple(torch.cat(a, 2) for a in zip(kv, time))",
        "kv = tuple(kv)",
    ),
    # 05_audio: when features are heard
    Fault(
        "mel-25-ms-late",
        "05_audio",
        "pad(x, (WINDOW//2, WINDOW//2 + HOP))",
        "pad(x, (WINDOW, HOP))",
    ),
    Fault(
        "windows-a-feature-late", "05_audio", "/float(fps) + 2*step)", "/float(fps) + 2*step - 1)"
    ),
    Fault("windows-half-as-wide", "05_audio", "/float(fps) + 2*step)", "/float(fps) + step)"),
    Fault(
        "no-interpolation",
        "05_audio",
        "(at-lo)[..., None].to(features.dtype)",
        "(0*at)[..., None].to(features.dtype)",
    ),
    Fault("log-to-base-ten", "05_audio", "+ MEL_FLOOR).log() for s", "+ MEL_FLOOR).log10() for s"),
    Fault(
        "late-sound-moved-up", "05_audio", "aresample=async=1:first_pts=0,", "aresample=async=1,"
    ),
    Fault("noise-never-added", "05_audio", "torch.where(noisy > 0,", "torch.where(noisy > 99,"),
    # 06_ddim: samplers
    Fault(
        "eta-adds-variance", "06_ddim", "(1-ᾱ_prev-σ**2).clamp(min=0)", "(1-ᾱ_prev).clamp(min=0)"
    ),
    Fault(
        "second-order-wrong",
        "06_ddim",
        "D = x0 + h/(2*h_last)*(x0 - last)",
        "D = x0 - h/(2*h_last)*(x0 - last)",
    ),
    Fault(
        "flow-backwards",
        "06_ddim",
        "se = (out - (noise-x0)).square()",
        "se = (out - (x0-noise)).square()",
    ),
    Fault(
        "guidance-away-from-sound",
        "06_ddim",
        "torch.lerp(model_uncond(x, t), cond, scale)",
        "torch.lerp(cond, model_uncond(x, t), scale)",
    ),
    # 09_data: what a batch is made of
    Fault(
        "twin-conditions-off",
        "09_data",
        'if (clip / "twin.npy").exists():',
        "if False:",
    ),
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
        "masked=encode(masked, other, rows, lambda x: hide(x, mask)),",
        "masked=encode(masked, other, rows),",
    ),
    Fault(
        "streams-offset-reversed",
        "09_data",
        "from_moment(load_audio(info.path), audio_offset(info))",
        "from_moment(load_audio(info.path), -audio_offset(info))",
    ),
    Fault(
        "people-in-both-halves",
        "09_data",
        'return re.sub(rf"(_twin|_\\d+|_({ends}))+$", "", c.name)',
        "return c.name",
    ),
    # 10_train: the loop and the losses
    Fault(
        "ema-reversed",
        "10_train",
        "list(model.parameters()), 1 - d)",
        "list(model.parameters()), d)",
    ),
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
    Fault("buffers-not-averaged", "10_train", "e.copy_(b)", "pass"),
    Fault(
        "every-step-the-same-batch",
        "10_train",
        "seed_everything(config.seed * 1_000_003 + step)",
        "seed_everything(config.seed)",
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
    for p in (root / "nbs").iterdir():
        if p.suffix == ".ipynb":
            shutil.copy(p, to / "nbs" / p.name)
        elif p.name == "images":
            (to / "nbs" / p.name).symlink_to(p)


def place(fault: Fault, copy: Path) -> tuple[int, Path]:
    "Number of the notebook's cell that a fault belongs to, and the module; both have its text once."
    path = copy / "nbs" / f"{fault.nb}.ipynb"
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
            sys.exit(f"{fault.name}: {fault.old!r} occurs {times} times in {file}; expected once.")
    return found[0], module


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
    "Run a notebook of a copy, without and with its faults; a line of the table for each of these."
    from execnb.shell import CaptureShell
    from nbdev.config import get_config
    from nbdev.process import NBProcessor
    from nbdev.processors import FrontmatterProc

    path, flags = copy / "nbs" / f"{nb}.ipynb", set(get_config().tst_flags.split())
    cells = NBProcessor(path, procs=FrontmatterProc, process=True).nb.cells
    cells = [c for c in cells if not passed_over(c, flags)]
    places = {f: place(f, copy) for f in faults}
    shell = CaptureShell(path)
    os.chdir(path.parent)
    for k, cell in enumerate(cells):
        for f in faults:
            if places[f][0] == cell.idx_:
                began = time.monotonic()
                stopped = with_fault(f, places[f][1], shell, cells[k:], limit)
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
    words = [Path(w).stem for w in words]
    unknown = [w for w in words if w not in known]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: no such fault or notebook; --list names them all.")
    return [f for f in FAULTS if not words or f.name in words or f.nb in words]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    p.add_argument("names", nargs="*", help="faults or notebooks; without any: all faults")
    p.add_argument("--list", action="store_true", help="name the faults, run nothing")
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
    lines = []
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "repository"
        copy_repository(copy)
        for f in faults:  # before any of them takes its time
            place(f, copy)
        print("| fault | notebook | caught by | seconds |\n|---|---|---|---|", flush=True)
        for nb in dict.fromkeys(f.nb for f in faults):
            lines += start(copy, nb, [f for f in faults if f.nb == nb], args.limit)
    survived = [line.split("|")[1].strip() for line in lines if "| SURVIVED |" in line]
    print(f"\n{len(lines) - len(survived)} of {len(lines)} faults caught; survived: {survived}")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
