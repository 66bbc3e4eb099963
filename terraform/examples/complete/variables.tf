variable "region" {
  description = "Where it all runs."
  type        = string
  default     = "eu-west-1"
}

variable "name" {
  description = "Prefix of every name; two deployments in one account need two."
  type        = string
  default     = "mcp"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "A name of at most 20 lower case letters, digits and hyphens that begins with a letter."
  }
}

variable "release" {
  description = "Tag of the images, as terraform/publish.sh prints it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,128}$", var.release)) && var.release != "latest"
    error_message = "The tag of a commit; \"latest\" cannot be rolled back."
  }
}

variable "architecture" {
  description = "ARM64 or X86_64: what the images were built for."
  type        = string
  default     = "ARM64"
}

variable "certificate_arn" {
  description = "ACM certificate for HTTPS; null only together with `insecure_http`."
  type        = string
  default     = null
}

variable "insecure_http" {
  description = "Plain HTTP, for tests only."
  type        = bool
  default     = false
}

variable "allowed_hosts" {
  description = "Host names that clients use, without port; empty for any."
  type        = list(string)
  default     = []
}

variable "registry_token" {
  description = "Password of the registry: TF_VAR_registry_token=$(openssl rand -hex 32). It is in no plan and no state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "registry_token_version" {
  description = "Raise it by one with each new token."
  type        = number
  default     = 1
}

variable "network" {
  description = "A VPC that you have, with subnets in two zones or more; null makes one."
  type = object({
    vpc_id             = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null
}

variable "nat" {
  description = "NAT gateways of a VPC that is made: per-zone, or one."
  type        = string
  default     = "per-zone"
}

variable "sessions_per_task" {
  description = "How many sessions a server task should hold."
  type        = number
  default     = 200
}

variable "alarm_topics" {
  description = "SNS topics that hear of alarms."
  type        = list(string)
  default     = []
}

variable "disposable" {
  description = "Whether a teardown may delete everything at once, images and secret included. For tests only."
  type        = bool
  default     = false
}
