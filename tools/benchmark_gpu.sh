#!/usr/bin/env bash
# Benchmarks on one NVIDIA GPU, in one call: one JSON file per case in OUT. A case that fails does not stop the rest.
#
#   tools/benchmark_gpu.sh OUT [CASE...]      cases: gpt2 gpt2_scanned llama (default: all)
#
# WHEELS=DIR    installs the wheels there first (without their dependencies, into a temporary folder), for a machine
#               that has jax, flax, optax, orbax-checkpoint, torch and transformers but no network. It then needs only
#               gin-config and orjson: pip download --no-deps -d DIR gin-config==0.5.0 orjson
# COMMIT=HASH   of the code, where this is no git clone
# PYTHON=...    the interpreter (default python3)
# LIMIT=N       seconds that a case may take (default 280)
set -uo pipefail
out=${1:?usage: tools/benchmark_gpu.sh OUT [CASE...]}
shift
cases=("${@:-gpt2 gpt2_scanned llama}")
cd "$(dirname "$0")/.." && mkdir -p "$out"

if [ -n "${WHEELS:-}" ]; then
  site=$(mktemp -d)
  "${PYTHON:-python3}" -m pip install -q --no-index --no-deps --target "$site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi

measure() {  # NAME FLAGS...
  local name=$1
  shift
  timeout "${LIMIT:-280}" "${PYTHON:-python3}" tools/benchmark.py train \
    --gin_file=gin_configs/runs/pretrain.gin --gin_file=gin_configs/hardware/h200.gin \
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
    gpt2) measure gpt2 --gin_file=gin_configs/models/gpt2_small.gin --gin.models.ModelConfig.unroll=12 \
      --gin.BATCH_SIZE=16 --gin.SEQUENCE_LENGTH=1024 --rounds=6 --steps=10 ;;
    gpt2_scanned) measure gpt2_scanned --gin_file=gin_configs/models/gpt2_small.gin --no_peer \
      --gin.BATCH_SIZE=16 --gin.SEQUENCE_LENGTH=1024 --rounds=4 --steps=10 ;;
    llama) measure llama --gin_file=gin_configs/models/llama_1b_v2.gin --gin.models.ModelConfig.loss_chunks=8 \
      --gin.BATCH_SIZE=2 --gin.SEQUENCE_LENGTH=4096 --rounds=5 --steps=5 ;;
    *) echo "there is no case $case"; false ;;
  esac || failed=1
done
exit $failed
