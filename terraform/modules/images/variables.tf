variable "name" {
  description = "Prefix of the repositories' names."
  type        = string
}

variable "repositories" {
  description = "One repository for each name."
  type        = set(string)
  default     = ["proxy", "server"]
}

variable "keep" {
  description = "How many images a repository keeps."
  type        = number
  default     = 30

  validation {
    condition     = var.keep >= 5
    error_message = "At least 5: a rollback needs the image that ran before."
  }
}

variable "force_delete" {
  description = "Whether a teardown deletes repositories that still hold images."
  type        = bool
  default     = false
}
