variable "name" {
  description = "Prefix of every name here."
  type        = string
}

variable "cluster_name" {
  description = "The ECS cluster, with Container Insights."
  type        = string
}

variable "proxy" {
  description = "The proxy service and its logs."
  type = object({
    service_name = string
    log_group    = string
  })
}

variable "server" {
  description = "The server service."
  type = object({
    service_name = string
  })
}

variable "load_balancer" {
  description = "CloudWatch dimensions of the load balancer."
  type = object({
    LoadBalancer = string
    TargetGroup  = string
  })
}

variable "registry_nodes" {
  description = "The registry's nodes, as CloudWatch calls them."
  type        = list(string)
}

variable "alarm_topics" {
  description = "SNS topics that hear of alarms, and of their end."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topics : can(regex("^arn:[a-z-]+:sns:", arn))])
    error_message = "ARNs of SNS topics."
  }
}

variable "memory_percent" {
  description = "Memory, of tasks and of Redis, that is too much."
  type        = number
  default     = 80

  validation {
    condition     = var.memory_percent >= 50 && var.memory_percent <= 95
    error_message = "50 to 95 percent."
  }
}
