#!/bin/bash
# One Slurm task per line of a file of people; all write into one output folder. Made for bids_distclip 0.1.0.
#
#   ls BIDS_DIR | sed -n 's/^sub-//p' > people.txt                 # a line may name several people: | xargs -n 20
#   sbatch --array=1-$(wc -l < people.txt)%20 slurm_array.sh BIDS_DIR OUTPUT_DIR people.txt [options of bids_distclip]
#   sbatch --dependency=afterany:JOB --wrap 'bids_distclip BIDS_DIR OUTPUT_DIR group'
#
# On a graphics card: add --gres=gpu:1 to sbatch and --device cuda to the options.
# In a container: DISTCLIP_IMAGE=bids_distclip.sif sbatch …; other files that options name: APPTAINER_BIND=/path
# A task that fails with code 75 may be submitted again as it is; what is done is not done again.
#SBATCH --job-name=distclip
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=01:00:00
#SBATCH --output=distclip_%A_%a.log
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: slurm_array.sh BIDS_DIR OUTPUT_DIR PEOPLE_FILE [options of bids_distclip]" >&2
    exit 64
fi
bids_dir=$(realpath "$1")
mkdir -p "$2"
output_dir=$(realpath "$2")
read -ra people <<< "$(sed -n "${SLURM_ARRAY_TASK_ID:?run me with sbatch --array}p" "$3")"
shift 3
if [ -z "${people[*]:-}" ]; then
    echo "There is no line $SLURM_ARRAY_TASK_ID in the file of people." >&2
    exit 64
fi
work=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/distclip.XXXXXX")
trap 'rm -rf "$work"' EXIT
run=(bids_distclip)
if [ -n "${DISTCLIP_IMAGE:-}" ]; then
    run=(apptainer run --containall --nv -B "$bids_dir:$bids_dir:ro" -B "$output_dir" -B "$work" "$DISTCLIP_IMAGE")
fi
# The memory is told in words: a container may hide the variables. A tenth is left to all else that runs in the job.
megabytes=${SLURM_MEM_PER_NODE:-$((${SLURM_MEM_PER_CPU:-0} * ${SLURM_CPUS_ON_NODE:-1}))}
if [ "$megabytes" -gt 0 ]; then
    set -- --mem "$((megabytes * 9 / 10))M" "$@"
fi
# The whole dataset is validated once, before: every task doing so would read it as often as there are people.
"${run[@]}" "$bids_dir" "$output_dir" participant --participant-label "${people[@]}" \
    --skip-bids-validation --work-dir "$work" \
    --nprocs "${SLURM_CPUS_PER_TASK:-4}" "$@"
