/** A mistake of the user's in flags or configuration: shown without a stack, and the command ends with status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
