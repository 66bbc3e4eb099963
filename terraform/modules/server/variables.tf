variable "name" {
  description = "Prefix of every name here; the service is `<name>-server`."
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
}

variable "cluster" {
  description = "The ECS cluster."
  type = object({
    arn  = string
    name = string
  })
}

variable "image" {
  description = "The MCP server's image, with a tag or digest. It needs Node for the health check."
  type        = string
}

variable "image_repository_arn" {
  description = "ECR repository of the image."
  type        = string
}

variable "architecture" {
  description = "ARM64 or X86_64."
  type        = string
  default     = "ARM64"
}

variable "cpu" {
  description = "CPU units of a task."
  type        = number
  default     = 512
}

variable "memory" {
  description = "MiB of a task."
  type        = number
  default     = 1024
}

variable "port" {
  description = "What the server listens on."
  type        = number
  default     = 3000
}

variable "path" {
  description = "The MCP endpoint's path."
  type        = string
  default     = "/mcp"
}

variable "health_path" {
  description = "A path that answers 2xx while the server is well, and 503 while it drains."
  type        = string
  default     = "/health"

  validation {
    condition     = can(regex("^/[A-Za-z0-9/._~-]*$", var.health_path))
    error_message = "A path that starts with '/'."
  }
}

variable "environment" {
  description = "Further variables of the server. PORT, HOST, MCP_PATH, DRAIN_SECONDS and EMF are set here."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Variables from Secrets Manager: ARN by variable."
  type        = map(string)
  default     = {}
}

variable "proxy_security_group_id" {
  description = "The proxies, who alone may connect."
  type        = string
}

variable "tasks" {
  description = "How many tasks: at the start, at least and at most."
  type = object({
    desired = optional(number, 3)
    min     = optional(number, 2)
    max     = optional(number, 20)
  })
  default = {}

  validation {
    condition     = var.tasks.min >= 2 && var.tasks.min <= var.tasks.desired && var.tasks.desired <= var.tasks.max
    error_message = "2 <= min <= desired <= max: with one task there is nowhere to migrate to."
  }
}

variable "sessions_per_task" {
  description = "How many sessions a task should hold; more or fewer tasks follow from it."
  type        = number
  default     = 200

  validation {
    condition     = var.sessions_per_task >= 1
    error_message = "At least 1."
  }
}

variable "stop_timeout" {
  description = "Seconds that a stopping task has to hand its sessions over; 120 is what Fargate allows."
  type        = number
  default     = 120

  validation {
    condition     = var.stop_timeout >= 30 && var.stop_timeout <= 120
    error_message = "30 to 120 seconds."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
}
