/** A variable that a text asks for, and that is not there. */
export class MissingVariableError extends Error {
  readonly variable: string

  constructor (variable: string) {
    super(`the environment variable ${variable} is not set; \${${variable}:-default} does without`)
    this.variable = variable
  }
}

const REFERENCE = /\$\$\{|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/g

/**
 * Puts the environment's values in: `${NAME}`, or `${NAME:-default}` for what is not set or empty; `$${` is `${`. Values are put
 * into one text of a parsed file, so that nothing in them can change its structure. Throws {@link MissingVariableError}.
 */
export function substitute (text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(REFERENCE, (_, name: string | undefined, otherwise: string | undefined) => {
    if (name === undefined) return '${'
    const value = environment[name]
    if (otherwise !== undefined) return value === undefined || value === '' ? otherwise : value
    if (value === undefined) throw new MissingVariableError(name)
    return value
  })
}

/** Is all of a text one reference? Such a value may stand for a number or a switch. */
export function isReference (text: string): boolean {
  return /^\$\{[A-Za-z_]\w*(?::-[^}]*)?\}$/.test(text)
}
