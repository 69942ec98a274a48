#!/bin/sh
# Everything that a machine with a GPU and TensorRT should be asked first, in one go and in one report.
#
#     benchmarks/gpu_first_run.sh [FOLDER]      default: build/gpu_first_run
#
# PYTHON names the interpreter (default: .venv/bin/python), SIZE the model: full (published widths, 2 of 32 layers of
# the language model, random weights; needs about 30 GB of disk), tiny or small. PLUGIN names the library of our plugins
# (kernels/README.md); without it they are not tried. A step that fails is reported and the next one runs; then it ends
# with 1. Where there is no GPU or no TensorRT it says "not measured" and ends with 0.

cd "$(dirname "$0")/.." || exit 1
out=${1:-build/gpu_first_run}
size=${SIZE:-full}
python=${PYTHON:-.venv/bin/python}
report=$out/report.md

missing=$("$python" -c 'import sys; sys.path.insert(0, "benchmarks"); import gpu_checks; print(gpu_checks.what_is_missing())')
if [ $? -ne 0 ]; then
    echo "not measured: $python cannot run this project; run: make setup"
    exit 0
fi
if [ -n "$missing" ]; then
    echo "not measured: $missing"
    exit 0
fi

mkdir -p "$out" || exit 1
failed=
echo "# First run on a GPU, $(date -u +%Y-%m-%d), size $size" > "$report"

# step TITLE COMMAND...: run it, put verdict, time and the end of what it said into the report
step() {
    title=$1
    shift
    echo "== $title"
    started=$(date +%s)
    "$@" > "$out/log" 2>&1
    code=$?
    [ $code -eq 0 ] || failed="$failed
  $title"
    { printf '\n## %s\n\nexit code %s, %s s\n\n```\n' "$title" "$code" "$(($(date +%s) - started))"
      tail -n 60 "$out/log"
      printf '```\n'; } >> "$report"
}

trt() {
    "$python" -c 'from hyperseg_runtime.cli.app import main; main()' "$@"
}

checkpoint() {
    "$python" -c 'import sys; sys.path.insert(0, "benchmarks")
from pathlib import Path
from hyperseg_export.families.hyperseg.tiny import write_checkpoint
from rtx_gate import sizes_of
folder = Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True); write_checkpoint(folder, sizes_of(sys.argv[2]), 0)' "$@"
}

photo=export/hyperseg_export/samples/coffee.jpg
step "This machine" trt doctor
step "Checkpoint with random weights" checkpoint "$out/checkpoint" "$size"
for precision in mixed fp16 fp32; do
    bundle=$out/$precision
    step "$precision: graphs" trt export "$out/checkpoint" "$bundle" --precision $precision --overwrite
    step "$precision: engines, audit, parity" trt build "$bundle"
    step "$precision: engines again, nothing to do" trt build "$bundle"
    step "$precision: a mask from engines" trt run "$bundle" $photo "the cup" "the table" --out "$out/$precision.engines" --backend tensorrt
    step "$precision: an answer from engines" trt chat "$bundle" $photo "What is it?" --max-tokens 8 --backend tensorrt
done
step "fp32: the same masks from ONNX Runtime" trt run "$out/fp32" $photo "the cup" "the table" --out "$out/fp32.onnxruntime"
step "fp32: pixels that differ" "$python" -c 'import sys, numpy as np
from PIL import Image
for number in (1, 2):
    a, b = (np.asarray(Image.open(f"{sys.argv[1]}/fp32.{side}/coffee.{number}.mask.png")) for side in ("engines", "onnxruntime"))
    print(f"mask {number}: {np.count_nonzero(a != b)} of {a.size} pixels differ")' "$out"
step "mixed: engines that can be refitted and streamed" trt build "$out/mixed" --refit --weight-streaming
step "mixed: a mask with weights kept on the host" trt run "$out/mixed" $photo "the cup" --out "$out/streamed" --backend tensorrt --weights-gb 0.001
if [ -n "$PLUGIN" ]; then
    step "mixed: our plugin in the pixel decoder" trt build "$out/mixed" --graph pixel_decoder --plugin "$PLUGIN"
fi
step "mixed: engines as they were" trt build "$out/mixed"
step "Open questions" "$python" benchmarks/gpu_checks.py --bundle "$out/mixed"
step "Deformable attention: our CUDA kernels" "$python" benchmarks/bench_deformable_attention_gpu.py
step "Mask readout: our CUDA kernels" "$python" benchmarks/bench_mask_readout_gpu.py
step "Typed graphs through PyTorch" "$python" benchmarks/typed_graphs.py --size "$size"
rm -f "$out/log"
[ -z "$failed" ] || echo "steps that failed:$failed"
echo "$report"
[ -z "$failed" ]
