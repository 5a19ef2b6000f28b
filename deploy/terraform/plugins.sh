# Read by the scripts here: where the AWS provider is preinstalled, Terraform takes it from there instead of the registry.

# use_plugins DIRECTORY: sets TF_CLI_CONFIG_FILE, unless it names a file that is there. The configuration is written to DIRECTORY.
use_plugins() {
    if [ -n "${TF_CLI_CONFIG_FILE:-}" ] && [ -f "$TF_CLI_CONFIG_FILE" ]; then
        return
    fi
    unset TF_CLI_CONFIG_FILE
    local found
    found=$(find "$HOME/.terraform.d" /opt /usr/local /usr/share -maxdepth 5 -type d -path '*/registry.terraform.io/hashicorp/aws' -print -quit 2>/dev/null || true)
    if [ -n "$found" ]; then
        cat >"$1/terraformrc" <<RC
disable_checkpoint = true
provider_installation {
  filesystem_mirror {
    path    = "${found%/registry.terraform.io/hashicorp/aws}"
    include = ["registry.terraform.io/hashicorp/*"]
  }
}
RC
        export TF_CLI_CONFIG_FILE=$1/terraformrc
    fi
}
