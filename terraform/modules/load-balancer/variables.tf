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
  description = "Subnets of two zones or more: public ones, unless `internal`."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "An ALB needs subnets in at least two zones."
  }
}

variable "certificate_arn" {
  description = "ACM certificate for HTTPS; null only together with `insecure_http`."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:[a-z-]+:(acm|iam):", var.certificate_arn))
    error_message = "The ARN of a certificate."
  }
  validation {
    condition     = (var.certificate_arn == null) == var.insecure_http
    error_message = "Either certificate_arn, or insecure_http = true to say that plain HTTP is meant."
  }
}

variable "insecure_http" {
  description = "Serve plain HTTP on port 80: session ids and tokens then travel in the open. For tests only."
  type        = bool
  default     = false
}

variable "ssl_policy" {
  description = "What TLS is spoken with clients."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"
}

variable "ingress_cidrs" {
  description = "Who may connect."
  type        = set(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.ingress_cidrs : can(cidrnetmask(cidr))])
    error_message = "IPv4 ranges, as in 203.0.113.0/24."
  }
}

variable "internal" {
  description = "Reachable from inside the VPC only."
  type        = bool
  default     = false
}

variable "idle_timeout" {
  description = "Seconds without a byte after which a connection is closed. The proxy keeps its side for 620 s, which must be longer, and sends a comment on silent streams every 8 s."
  type        = number
  default     = 300

  validation {
    condition     = var.idle_timeout >= 60 && var.idle_timeout <= 310
    error_message = "60 to 310 seconds: the proxy closes idle connections after 320 s, and must not be first (that would be a 502)."
  }
}

variable "deregistration_delay" {
  description = "Seconds that a leaving proxy keeps its connections. Open streams use all of it on every deploy."
  type        = number
  default     = 60

  validation {
    condition     = var.deregistration_delay >= 5 && var.deregistration_delay <= 300
    error_message = "5 to 300 seconds."
  }
}

variable "target_port" {
  description = "The proxy's MCP port."
  type        = number
}

variable "health_port" {
  description = "The proxy's ops port. Only health checks go there: no listener does."
  type        = number
}

variable "deletion_protection" {
  description = "Whether the load balancer must be unprotected by hand before it can be deleted."
  type        = bool
  default     = true
}

variable "access_logs_bucket" {
  description = "S3 bucket for access logs; null for none."
  type        = string
  default     = null
}
