#!/usr/bin/env bash
# Builds both images and pushes them to ECR under the commit's tag.
#
#   terraform/publish.sh PREFIX [PLATFORM]
#
# PREFIX is what both repositories begin with, as in 123456789012.dkr.ecr.eu-west-1.amazonaws.com/mcp; PLATFORM is
# linux/arm64, the default, or linux/amd64. The last line on stdout is the tag: give it to Terraform as `release`.
# Needs git, docker with buildx, and the aws command with credentials.
set -euo pipefail

readonly TARGETS=(proxy server)
fail() {
  echo "publish: $1" >&2
  exit 1
}

prefix=${1-}
platform=${2-linux/arm64}
[[ $prefix =~ ^([0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?)/([a-z0-9/_-]+)$ ]] ||
  fail "expected a prefix as in 123456789012.dkr.ecr.eu-west-1.amazonaws.com/mcp, got '$prefix'"
registry=${BASH_REMATCH[1]}
region=${BASH_REMATCH[2]}
name=${BASH_REMATCH[4]}
[[ $platform == linux/arm64 || $platform == linux/amd64 ]] ||
  fail "expected linux/arm64 or linux/amd64, got '$platform'"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A tag is a commit: what is not committed must not go by its name.
[[ -z $(git status --porcelain) ]] || fail 'commit first: the tag is the commit'
tag=$(git rev-parse --short=12 HEAD)

aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "$registry" >&2

for target in "${TARGETS[@]}"; do
  image=$prefix/$target:$tag
  # Tags are immutable: what is there is what would be pushed.
  if aws ecr describe-images --region "$region" --repository-name "$name/$target" --image-ids "imageTag=$tag" >/dev/null 2>&1; then
    echo "publish: $image is there" >&2
    continue
  fi
  docker buildx build --platform "$platform" --target "$target" --tag "$image" --provenance=false --push . >&2
  echo "publish: $image pushed" >&2
done

echo "$tag"
