#!/bin/sh
# Takes a server out of service and stops it when no client needs it any more.
#
#   scale-in.sh LOAD-BALANCER BACKEND SECONDS STOP-COMMAND...
#
# New connections go elsewhere from the moment ebb answers. Open ones get SECONDS
# to end; what is left then is closed at both ends. Only after that does
# STOP-COMMAND run. See scale-in.md.
set -eu

lb=$1 backend=$2 seconds=$3
shift 3

ended=0
"${EBB:-ebb}" backend deregister "$lb" "$backend" --timeout "$seconds" --wait || ended=$?
case $ended in
    0) ;;                                                    # every flow ended by itself
    3) echo "$backend: the deadline cut some connections" >&2 ;;
    *) exit "$ended" ;;                                      # not drained: do not stop it
esac
exec "$@"
