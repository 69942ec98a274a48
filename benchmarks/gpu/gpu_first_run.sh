#!/bin/sh
# Everything that a machine with a GPU should be asked first: parts of at most six minutes, most important first, one report.
#
#     benchmarks/gpu/gpu_first_run.sh [--list] [-o FOLDER] [PART...]      default: build/gpu_first_run, all parts
#
# Each part can be run alone. One that was done is not done again unless it is named; one that ran out of time goes on
# where it was when it is called again, as exports and builds do. FOLDER/report.md holds what every part said last; what
# was not tried stands there as "not measured". Ends with 1 if a part failed.
#
# Parts that need torch and no TensorRT come apart from those that need it (--list says which). PYTHON names the
# interpreter (default: .venv/bin/python), SIZE the model of the later parts: full (published widths, 2 of 32 layers of the
# language model, random weights; about 30 GB of disk), small or tiny. TENSORRT_ROOT names the folder of TensorRT's headers
# for the library of plugins. PART_S bounds a part (default: 360 seconds).

cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-.venv/bin/python}
size=${SIZE:-full}
limit=${PART_S:-360}
out=build/gpu_first_run
photo=export/hyperseg_export/samples/coffee.jpg

parts="machine device-memory first-engines kernels resize open-questions onnxruntime-cuda memory-checker plugins attention
typed-modules library graphs engines masks times forms refit precisions server"

about() {
    case $1 in
        machine) echo "nothing    what doctor finds here" ;;
        device-memory) echo "cuda       memory, streams, copies and replays under our backends" ;;
        kernels) echo "torch      our CUDA kernels against their floors and rivals" ;;
        resize) echo "torch      an image prepared on the GPU, byte for byte, beside its roofline" ;;
        memory-checker) echo "torch      the same under compute-sanitizer" ;;
        typed-modules) echo "torch      fp16 and bf16 modules against float32" ;;
        library) echo "nvcc       the C++ plugins compile (TENSORRT_ROOT)" ;;
        first-engines) echo "tensorrt   the tiny model: engines, audit, parity, masks, an answer" ;;
        onnxruntime-cuda) echo "onnxruntime-cuda the tiny model of every family by ONNX Runtime on the GPU: graphs, masks, an answer" ;;
        open-questions) echo "tensorrt   what no release note says, each answered by trying" ;;
        plugins) echo "tensorrt   the tiny pixel decoder with plugins and with bodies, counted and timed" ;;
        attention) echo "tensorrt   the small language model in each form of attention" ;;
        graphs) echo "tensorrt   checkpoint and graphs of SIZE in mixed precision" ;;
        engines) echo "tensorrt   engines of SIZE, audit, parity; call it until it is done" ;;
        masks) echo "tensorrt   masks and answers of SIZE on engines and on ONNX Runtime, pixel by pixel" ;;
        times) echo "tensorrt   what SIZE takes on engines and in PyTorch, graph by graph, beside the floors of this GPU" ;;
        forms) echo "tensorrt   the pixel decoder of SIZE with plugins and with bodies, timed" ;;
        refit) echo "tensorrt   the tiny model refitted, and with weights kept on the host" ;;
        precisions) echo "tensorrt   the tiny model in fp16 and fp32: engines, audit, parity" ;;
        server) echo "tensorrt   the tiny model behind Triton with profile gpu" ;;
        *) return 1 ;;
    esac
}

missing() {
    needed=$(about "$1" | cut -d ' ' -f 1)
    case $needed in
        nothing) ;;
        nvcc) command -v nvcc > "$out/log" || echo "nvcc is missing"
              [ -n "$TENSORRT_ROOT" ] || echo "TENSORRT_ROOT names no folder with TensorRT's headers" ;;
        *) "$python" benchmarks/gpu/gpu_checks.py --missing "$needed" 2> "$out/log" || tail -n 1 "$out/log" ;;
    esac
}

# step TITLE COMMAND...: run it in the time that the part has left; verdict, seconds and the end of what it said
step() {
    title=$1
    shift
    left=$((deadline - $(date +%s)))
    if [ "$left" -le 0 ]; then
        unfinished=yes
        printf '\n### %s\n\nnot measured: the part had no time left\n' "$title" >> "$section"
        return 1
    fi
    started=$(date +%s)
    timeout "$left" "$@" > "$out/log" 2>&1
    code=$?
    if [ $code -eq 124 ]; then unfinished=yes; elif [ $code -ne 0 ]; then failed=yes; fi
    { printf '\n### %s\n\nexit code %s, %s s\n\n```\n' "$title" "$code" "$(($(date +%s) - started))"
      tail -n 60 "$out/log"
      printf '```\n'; } >> "$section"
    return $code
}

checkpoint() { # SIZE FOLDER FAMILY: there when it is whole
    rm -rf "$2.part"
    step "checkpoint, $3 $1" "$python" -c 'import sys
from pathlib import Path
from hyperseg_export.families.registry import EXPORT_FAMILIES
folder = Path(sys.argv[2]); folder.mkdir(parents=True, exist_ok=True)
EXPORT_FAMILIES[sys.argv[3]].random.write(folder, sys.argv[1], 0)' "$1" "$2.part" "$3" && mv "$2.part" "$2"
}

bundle() { # SIZE PRECISION [FAMILY]: its bundle $made, exported unless it is there; without FAMILY HyperSeg's
    family=${3:-hyperseg} source=$out/$1${3:+-$3}
    made=$source-$2
    [ -f "$made/manifest.json" ] && return
    [ -d "$source" ] || checkpoint "$1" "$source" "$family" || return
    step "graphs, $family $1 $2" "$python" -m hyperseg_runtime export "$source" "$made" --precision "$2"
}

trt() { # TITLE ARGUMENTS...
    title=$1
    shift
    step "$title" "$python" -m hyperseg_runtime "$@"
}

check() { # BUNDLE NAME...
    asked=$1
    shift
    step "$*" "$python" benchmarks/gpu/gpu_checks.py --bundle "$asked" --only "$@"
}

attention_and_readout="benchmarks/kernels/bench_deformable_attention_gpu.py benchmarks/kernels/bench_mask_readout_gpu.py"
resize=benchmarks/kernels/bench_pillow_resize_gpu.py
differing_pixels='import sys, numpy as np
from PIL import Image
for name in ("mask", "mask-2"):
    a, b = (np.asarray(Image.open(f"{folder}/coffee.jpg.{name}.png")) for folder in sys.argv[1:])
    print(f"{name}: {np.count_nonzero(a != b)} of {a.size} pixels differ")'

part() {
    case $1 in
        machine)
            trt "doctor" doctor ;;
        device-memory)
            step "memory and streams" "$python" benchmarks/gpu/device_memory.py ;;
        first-engines)
            bundle tiny mixed &&
            trt "engines, audit, parity" build "$out/tiny-mixed" &&
            trt "engines again, nothing to do" build "$out/tiny-mixed" &&
            trt "a mask" run "$out/tiny-mixed" $photo "the cup" --out "$out/first.masks" --backend tensorrt --overwrite &&
            trt "an answer" chat "$out/tiny-mixed" $photo "What is it?" --max-tokens 8 --backend tensorrt ;;
        kernels)
            for script in $attention_and_readout; do step "$script" "$python" "$script"; done ;;
        resize)
            step "resize and normalise" "$python" $resize ;;
        memory-checker)
            if ! command -v compute-sanitizer > "$out/log"; then
                unmeasured="compute-sanitizer is missing; it comes with the CUDA toolkit"
                return
            fi
            for script in $attention_and_readout $resize; do
                for tool in memcheck racecheck; do
                    [ "$tool $script" = "racecheck ${attention_and_readout%% *}" ] && continue # shares no memory
                    step "$tool $script" compute-sanitizer --tool $tool --error-exitcode 9 "$python" "$script" --rounds 1
                done
            done ;;
        typed-modules)
            step "typed modules, $size" "$python" benchmarks/graphs/typed_graphs.py --size "$size" ;;
        library)
            step "configure" cmake -S kernels/hyperseg_kernels/csrc/tensorrt -B "$out/library" "-DTensorRT_ROOT=$TENSORRT_ROOT" &&
            step "compile" cmake --build "$out/library" ;;
        open-questions)
            bundle tiny mixed && trt "engines" build "$out/tiny-mixed" &&
            step "open questions" "$python" benchmarks/gpu/gpu_checks.py --bundle "$out/tiny-mixed" ;;
        onnxruntime-cuda)
            bundles=
            for name in $("$python" -c 'from hyperseg_runtime.families import FAMILIES; print(*FAMILIES)'); do
                for precision in fp32 fp16; do
                    bundle tiny $precision "$name" || return
                    bundles="$bundles $made"
                done
            done
            step "graphs and requests" "$python" benchmarks/gpu/onnxruntime_cuda.py $bundles
            trt "a mask" run "$out/tiny-hyperseg-fp32" $photo "the cup" --out "$out/cuda.masks" --backend onnxruntime-cuda --overwrite
            trt "an answer" chat "$out/tiny-hyperseg-fp32" $photo "What is it?" --max-tokens 8 --backend onnxruntime-cuda ;;
        plugins)
            bundle tiny mixed && pixel_decoder "$out/tiny-mixed" ;;
        attention)
            bundle small mixed || return
            for form in decomposed written-out fused; do
                trt "$form" build "$out/small-mixed" --graph llm --attention $form
            done ;;
        graphs)
            bundle "$size" mixed ;;
        engines)
            bundle "$size" mixed && trt "engines, audit, parity" build "$out/$size-mixed" ;;
        masks)
            bundle "$size" mixed && trt "engines" build "$out/$size-mixed" &&
            for backend in tensorrt onnxruntime; do
                precision=mixed
                [ $backend = tensorrt ] || precision=fp32
                bundle "$size" $precision &&
                trt "masks, $backend" run "$out/$size-$precision" $photo "the cup" "the table" --out "$out/$backend.masks" --backend $backend --overwrite || return
            done
            step "pixels that differ" "$python" -c "$differing_pixels" "$out/tensorrt.masks" "$out/onnxruntime.masks"
            trt "an answer" chat "$out/$size-mixed" $photo "What is it?" --max-tokens 8 --backend tensorrt ;;
        times)
            bundle "$size" mixed && trt "engines" build "$out/$size-mixed" && rm -rf "$out/times" &&
            trt "times" bench "$out/$size-mixed" --backend tensorrt --checkpoint "$out/$size" --out "$out/times" ;;
        forms)
            bundle "$size" mixed && pixel_decoder "$out/$size-mixed" ;;
        refit)
            bundle tiny mixed &&
            trt "engines" build "$out/tiny-mixed" --refit --weight-streaming &&
            trt "weights kept on the host" run "$out/tiny-mixed" $photo "the cup" --out "$out/streamed.masks" --backend tensorrt --weights-gb 0.001 --overwrite
            trt "engines as they were" build "$out/tiny-mixed" ;;
        precisions)
            for precision in fp16 fp32; do
                bundle tiny $precision && trt "$precision: engines, audit, parity" build "$out/tiny-$precision"
            done ;;
        server)
            bundle tiny mixed && trt "engines" build "$out/tiny-mixed" && check "$out/tiny-mixed" served ;;
    esac
}

pixel_decoder() { # BUNDLE: both forms of our operators, the plugins last so that they stay
    trt "bodies" build "$1" --graph pixel_decoder --no-plugins && check "$1" pixel_decoder_time
    trt "plugins" build "$1" --graph pixel_decoder && check "$1" pixel_decoder_time
}

case $1 in
    --list)
        for name in $parts; do printf '%-17s%s\n' "$name" "$(about "$name")"; done
        exit 0 ;;
    -o)
        out=$2
        shift 2 ;;
esac
for name in "$@"; do
    about "$name" > /dev/null || { echo "no part $name; see --list"; exit 2; }
done

mkdir -p "$out/parts" || exit 1
bad=
for name in ${*:-$parts}; do
    section=$out/parts/$name.md
    [ $# -eq 0 ] && [ -f "$out/parts/$name.done" ] && echo "$name: done before" && continue
    deadline=$(($(date +%s) + limit)) failed= unfinished= unmeasured=$(missing "$name" | head -n 1)
    rm -f "$out/parts/$name.done"
    printf '\n## %s\n\n%s\n' "$name" "$(about "$name" | sed 's/^[^ ]* *//')" > "$section"
    if [ -z "$unmeasured" ]; then part "$name"; fi
    if [ -n "$unmeasured" ]; then verdict="not measured: $unmeasured"
    elif [ -n "$failed" ]; then verdict=failed bad=yes
    elif [ -n "$unfinished" ]; then verdict="ran out of its $limit s; call it again to go on"
    else verdict=done && touch "$out/parts/$name.done"; fi
    printf '\n**%s**\n' "$verdict" >> "$section"
    echo "$name: $verdict"
done

{ echo "# First run on a GPU, $(date -u +%Y-%m-%d), size $size"
  for name in $parts; do
      if [ -f "$out/parts/$name.md" ]; then cat "$out/parts/$name.md"
      else printf '\n## %s\n\n**not measured: not tried yet**\n' "$name"; fi
  done; } > "$out/report.md"
rm -f "$out/log"
echo "$out/report.md"
[ -z "$bad" ]
