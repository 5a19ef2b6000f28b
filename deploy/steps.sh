# For scripts that check one thing after the other, and go on. Wants `logs`, a directory that is there; counts `passed` and `failed`.

passed=0
failed=0
# step NAME COMMAND…: one thing that passes or fails; what it said is shown if it fails.
step() {
    # shellcheck disable=SC2154 # the caller's
    local name=$1 log=$logs/${1//[^A-Za-z0-9]/_}.log
    shift
    if "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$name"
        sed 's/^/        /' "$log" | tail -n 60
    fi
}
