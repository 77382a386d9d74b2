#!/usr/bin/env bash
# Runs a command in a container, and gives the files that root made there to you.
#
#     deploy/docker-exec.sh CONTAINER COMMAND [ARGUMENT...]
#
# For images that must run as root (a supervisord, say), so that their files on a mounted folder belong
# to root on the host as well. The image of deploy/Dockerfile runs as you and does not need this.
#
# CONTAINER is a container's name, or a service of the compose file in the working folder.
#
#   FOLDER   the folder in the container whose files are given back; default: its working folder
#   OWNER    to whom, as UID:GID; default: you
#
# Only what root owns below FOLDER changes hands, on that file system alone; links are not followed. The
# exit code is the command's; where the owner could not be changed it is 70.
set -euo pipefail

main() {
    if [ $# -lt 2 ]; then
        echo "usage: $0 CONTAINER COMMAND [ARGUMENT...]" >&2
        exit 2
    fi
    local container code=0
    container=$(find_container "$1")
    shift

    local terminal=(--interactive)
    if [ -t 0 ] && [ -t 1 ]; then
        terminal+=(--tty)
    fi
    # Ctrl-C is for the command; what it has written by then changes hands as well.
    trap : INT
    docker exec "${terminal[@]}" "$container" "$@" || code=$?
    give_back "$container" || { [ "$code" -ne 0 ] || code=70; }
    exit "$code"
}

find_container() {
    local id
    id=$(docker compose ps --quiet "$1" 2>/dev/null) || id=""
    # Of a service with several containers the first.
    id=${id%%$'\n'*}
    echo "${id:-$1}"
}

give_back() {
    local folder=${FOLDER:-} owner=${OWNER:-$(id -u):$(id -g)}
    if [ -z "$folder" ]; then
        folder=$(docker exec "$1" pwd)
    fi
    if [ "$folder" = / ]; then
        echo "$0: the working folder of $1 is /; say FOLDER=... whose files are yours" >&2
        return 1
    fi
    docker exec --user 0 "$1" find "$folder" -xdev -uid 0 -exec chown -h "$owner" {} +
}

main "$@"
