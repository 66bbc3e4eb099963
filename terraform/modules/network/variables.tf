variable "name" {
  description = "Prefix of every name here."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "A name of at most 20 lower case letters, digits and hyphens that begins with a letter."
  }
}

variable "cidr" {
  description = "Addresses of the VPC. Each zone gets a sixteenth for its tasks and one for its public side."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "An IPv4 range of /20 or larger, as in 10.42.0.0/16."
  }
}

variable "zones" {
  description = "Over how many availability zones."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3, 4], var.zones)
    error_message = "2, 3 or 4: one zone is no high availability."
  }
}

variable "nat" {
  description = "NAT gateways: \"per-zone\", or \"one\", which is cheaper, but takes all zones along when its zone fails."
  type        = string
  default     = "per-zone"

  validation {
    condition     = contains(["per-zone", "one"], var.nat)
    error_message = "per-zone or one."
  }
}
