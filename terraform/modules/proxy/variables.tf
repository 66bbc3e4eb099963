variable "name" {
  description = "Prefix of every name here; the service is `<name>-proxy`."
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
  description = "The proxy's image, with a tag or digest."
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
  description = "CPU units of a task. The proxy is one thread: more than 1024 is wasted, so add tasks instead."
  type        = number
  default     = 512

  validation {
    condition     = var.cpu <= 1024
    error_message = "At most 1024: the proxy is one thread."
  }
}

variable "memory" {
  description = "MiB of a task."
  type        = number
  default     = 1024
}

variable "port" {
  description = "The MCP port."
  type        = number
  default     = 8080
}

variable "ops_port" {
  description = "Metrics, health and orders. Only the load balancer's health checks reach it."
  type        = number
  default     = 9464

  validation {
    condition     = var.ops_port != var.port
    error_message = "Another port than the MCP port."
  }
}

variable "load_balancer" {
  description = "Where requests come from."
  type = object({
    security_group_id = string
    target_group_arn  = string
  })
}

variable "discovery" {
  description = "Where the servers are found: NAMESPACE/SERVICE in Cloud Map, and the ARNs of both."
  type = object({
    name          = string
    namespace_arn = string
    service_arn   = string
  })
}

variable "backend" {
  description = "Paths at the servers: the MCP endpoint's, which clients use too, and the health check's."
  type = object({
    path        = string
    health_path = string
  })
}

variable "redis_secret_arn" {
  description = "Secret that holds the registry's whole URL."
  type        = string
}

variable "allowed_hosts" {
  description = "Host names that clients use, without port; empty for any. Name them: a page in a browser must not get in by DNS rebinding."
  type        = list(string)
  default     = []
}

variable "allowed_origins" {
  description = "Web origins that may call; empty for those whose host is the one called."
  type        = list(string)
  default     = []
}

variable "settings" {
  description = "Further variables of the proxy, as in { HOLD_SECONDS = \"20\" }. What this module sets itself wins."
  type        = map(string)
  default     = {}
}

variable "tasks" {
  description = "How many tasks: at the start, at least and at most."
  type = object({
    desired = optional(number, 2)
    min     = optional(number, 2)
    max     = optional(number, 10)
  })
  default = {}

  validation {
    condition     = var.tasks.min >= 2 && var.tasks.min <= var.tasks.desired && var.tasks.desired <= var.tasks.max
    error_message = "2 <= min <= desired <= max: one proxy alone cannot be replaced unseen."
  }
}

variable "cpu_target" {
  description = "Average CPU in percent that scaling aims at."
  type        = number
  default     = 50

  validation {
    condition     = var.cpu_target >= 20 && var.cpu_target <= 80
    error_message = "20 to 80 percent."
  }
}

variable "stop_timeout" {
  description = "Seconds that a stopping proxy has to finish what runs, after the load balancer has let it go."
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
