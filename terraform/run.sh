#!/usr/bin/env bash
# Runs Terraform in a folder, without credentials and without leaving anything there: terraform/run.sh DIR ARGS…
#
# Where TERRAFORM_OFFLINE names a stand-in for provider downloads (a program that takes DIR ARGS…), or one lies in
# ../shared/tools beside the repository, it is used; else plain Terraform, which downloads the provider. Where neither
# can be had, the exit status is 75 and the last line of stderr says why.
set -euo pipefail

readonly NOT_HERE=75
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

not_here() {
  echo "terraform: not run: $1" >&2
  exit "$NOT_HERE"
}

# Named, or beside this repository, the one that it is a worktree of, or the one that it was cloned from.
offline() {
  local near candidate candidates=()
  for near in "$root" "$(git -C "$root" rev-parse --path-format=absolute --git-common-dir 2>/dev/null)/.." \
    "$(git -C "$root" config remote.origin.url 2>/dev/null)"; do
    candidates+=("${near%/.git/..}/../shared/tools/terraform-offline")
  done
  [[ -z ${TERRAFORM_OFFLINE-} ]] || candidates=("$TERRAFORM_OFFLINE")
  for candidate in "${candidates[@]}"; do
    [[ ! -d $candidate ]] || candidate=$candidate/terraform-offline
    if [[ -x $candidate ]]; then
      echo "$candidate"
      return
    fi
  done
}

command -v terraform >/dev/null || not_here 'no terraform on PATH'
directory=$1
shift
export CHECKPOINT_DISABLE=1

if [[ $1 == fmt ]]; then
  cd "$directory"
  exec terraform "$@"
fi

program=$(offline)
if [[ -n $program ]]; then
  exec "$program" "$directory" "$@"
fi

# The provider is large: it is kept for the next run, outside of the repository.
export TF_PLUGIN_CACHE_DIR=${TF_PLUGIN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mcp-affinity-terraform}
mkdir -p "$TF_PLUGIN_CACHE_DIR"
TF_DATA_DIR=$(mktemp -d)
export TF_DATA_DIR
trap 'rm -rf "$TF_DATA_DIR" "$directory/.terraform.lock.hcl"' EXIT
if ! output=$(terraform -chdir="$directory" init -backend=false -input=false -no-color 2>&1); then
  # Whatever else is wrong with it is a failure.
  grep -qE 'Failed to (query|install|resolve)|registry service is unreachable' <<<"$output" &&
    not_here 'the aws provider could not be downloaded, and TERRAFORM_OFFLINE is not set'
  echo "$output" >&2
  exit 1
fi
terraform -chdir="$directory" "$@"
