#!/usr/bin/env bash
# Benchmarks on one NVIDIA GPU, in one call: one JSON file per case in OUT. A case that fails does not stop the rest.
#
#   tools/benchmark_gpu.sh OUT [CASE...]      cases: gpt2_small, v1_1b3 (LLM-jp v1.0's 1.3B), llama_1b8_2k and llama_1b8_4k
#                                             (LLM-jp-3's 1.8B at sequence 2,048 and 4,096); default: all
#
# HARDWARE=NAME of gin_configs/hardware (default h200). Parameters are float32, products bfloat16, as with the peer. A GPU of
#               80 GB holds one side of the larger models at a time: they run one after the other.
# WHEELS=DIR    installs the wheels there first (without their dependencies, into a temporary folder), for a machine
#               that has jax, flax, optax, orbax-checkpoint, torch and transformers but no network. It then needs only
#               gin-config and orjson: pip download --no-deps -d DIR gin-config==0.5.0 orjson
# COMMIT=HASH   of the code, where this is no git clone
# PYTHON=...    the interpreter (default python3)
# LIMIT=N       seconds that a case may take (default 280)
set -uo pipefail
out=${1:?usage: tools/benchmark_gpu.sh OUT [CASE...]}
shift
cases=("${@:-gpt2_small v1_1b3 llama_1b8_2k llama_1b8_4k}")
cd "$(dirname "$0")/.." && mkdir -p "$out"

if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  "${PYTHON:-python3}" -m pip install -q --no-index --no-deps --target "$site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi

measure() {  # NAME MODEL FLAGS...
  local name=$1 models=(--gin_file="gin_configs/models/$2.gin")
  shift 2
  timeout "${LIMIT:-280}" "${PYTHON:-python3}" tools/benchmark.py train \
    --gin_file=gin_configs/runs/pretrain.gin "${models[@]}" --gin_file="gin_configs/hardware/${HARDWARE:-h200}.gin" \
    --gin.TRAIN_STEPS=1000 --gin.training.OptimizerConfig.learning_rate=3e-4 \
    --gin.training.OptimizerConfig.final_learning_rate=3e-5 --gin.training.OptimizerConfig.warmup_steps=10 \
    ${COMMIT:+--commit="$COMMIT"} --output="$out/train_$name.json" "$@" >/dev/null 2>"$out/train_$name.log" ||
    { echo "$name failed (exit code $?; 124: the time limit):"; tail -n 20 "$out/train_$name.log"; return 1; }
  "${PYTHON:-python3}" - "$out/train_$name.json" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
print(sys.argv[1], json.dumps({side: {key: report[side][key] for key in ("tokens_per_second", "mfu")}
                               for side in ("ours", "hf") if side in report}), json.dumps(report.get("comparison")))
PY
}

failed=0
for case in ${cases[*]}; do
  case $case in
    gpt2_small) measure gpt2_small gpt2_small --gin.BATCH_SIZE=16 --gin.SEQUENCE_LENGTH=1024 \
      --gin.models.ModelConfig.unroll=12 --rounds=6 --steps=10 ;;
    # Dropout off: the peer's fused attention would draw other numbers, and cuDNN's kernel has none.
    v1_1b3) measure v1_1b3 gpt2_1b3_v1 --gin.BATCH_SIZE=8 --gin.SEQUENCE_LENGTH=2048 --one_at_a_time \
      --gin.models.ModelConfig.dropout=0.0 --gin.models.ModelConfig.attention_dropout=0.0 \
      --gin.models.ModelConfig.loss_chunks=8 --rounds=4 --steps=8 ;;
    llama_1b8_2k) measure llama_1b8_2k llama3_1b8 --gin.BATCH_SIZE=4 --gin.SEQUENCE_LENGTH=2048 --one_at_a_time \
      --gin.models.ModelConfig.loss_chunks=8 --rounds=4 --steps=8 ;;
    llama_1b8_4k) measure llama_1b8_4k llama3_1b8 --gin.BATCH_SIZE=2 --gin.SEQUENCE_LENGTH=4096 --one_at_a_time \
      --gin.models.ModelConfig.loss_chunks=8 --rounds=4 --steps=8 ;;
    *) echo "there is no case $case"; false ;;
  esac || failed=1
done
exit $failed
