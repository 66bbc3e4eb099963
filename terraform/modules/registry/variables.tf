variable "name" {
  description = "Prefix of every name here."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "A name of at most 20 lower case letters, digits and hyphens that begins with a letter."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of two zones or more."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Subnets in at least two zones: the replica must not share the primary's."
  }
}

variable "clients" {
  description = "Security groups that may connect, by a name of your own."
  type        = map(string)
}

variable "token" {
  description = "Password of the registry. It is in no plan and no state; raise `token_version` to change it."
  type        = string
  ephemeral   = true
  sensitive   = true

  # Letters, digits and hyphens: allowed by ElastiCache, and the same within a URL.
  validation {
    condition     = can(regex("^[A-Za-z0-9-]{32,128}$", var.token))
    error_message = "32 to 128 letters, digits and hyphens, as from: openssl rand -hex 32."
  }
}

variable "token_version" {
  description = "Raise it by one with each new token."
  type        = number
  default     = 1
}

variable "node_type" {
  description = "Size of a node."
  type        = string
  default     = "cache.t4g.small"

  validation {
    condition     = startswith(var.node_type, "cache.")
    error_message = "A node type as in cache.t4g.small."
  }
}

variable "nodes" {
  description = "Nodes over all zones: one primary, the others replicas."
  type        = number
  default     = 2

  validation {
    condition     = var.nodes >= 2 && var.nodes <= 6
    error_message = "2 to 6: with one there is nothing to fail over to."
  }
}

variable "engine_version" {
  description = "Version of Valkey."
  type        = string
  default     = "8.1"

  validation {
    condition     = can(regex("^8\\.\\d+$", var.engine_version))
    error_message = "A Valkey 8, as in 8.1: the parameters here are of that family."
  }
}

variable "port" {
  description = "The registry's port."
  type        = number
  default     = 6379
}

variable "snapshot_retention_days" {
  description = "How many daily snapshots are kept; 0 for none. A restored session whose server is gone migrates at its next request."
  type        = number
  default     = 1

  validation {
    condition     = var.snapshot_retention_days >= 0 && var.snapshot_retention_days <= 35
    error_message = "0 to 35."
  }
}

variable "secret_recovery_days" {
  description = "How long the secret can be brought back after a teardown; 0 deletes it at once."
  type        = number
  default     = 7

  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "0, or 7 to 30 days."
  }
}
