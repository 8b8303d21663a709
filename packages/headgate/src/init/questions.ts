import { createInterface } from 'node:readline/promises'
import { policies } from '@headgate/core'
import { UsageError } from '../usage-error.ts'
import { optionsOf } from './flags.ts'

interface Question {
  readonly flag: string
  readonly text: string
  /** What an answer adds to the command line; an empty one adds nothing. */
  flags (answer: string): readonly string[]
  /** It has no meaning without an answer to this one. */
  readonly after?: string
  /** Stays without an answer of its own: it is asked again. */
  readonly required?: boolean
}

const value = (flag: string, text: string, more: Pick<Question, 'after' | 'required'> = {}): Question =>
  ({ flag, text, flags: (answer) => answer === '' ? [] : [`--${flag}=${answer}`], ...more })
const choice = (flag: string, text: string): Question => ({ flag, text: `${text} (y/N)`, flags: (answer) => /^y(?:es)?$/i.test(answer) ? [`--${flag}`] : [] })

const QUESTIONS: readonly Question[] = [
  {
    flag: 'upstream', text: 'Servers behind it, with spaces between them (http://127.0.0.1:3000)', required: true,
    flags: (answer) => answer.split(/[\s,]+/).filter((one) => one !== '').map((one) => `--upstream=${one}`)
  },
  value('listen', 'Listen at (127.0.0.1:8080)'),
  value('policy', `How to choose among them: ${Object.keys(policies).join(', ')} (adaptive)`),
  value('health-path', 'Path that says that a server is well (none)'),
  value('sticky', 'Clients stay with their server by: cookie, source-ip, app-cookie:NAME, header:NAME (they do not)'),
  choice('cache', 'Keep responses that allow it'),
  choice('compress', 'Compress responses'),
  value('tls-cert', 'HTTPS: file of the certificate (plain HTTP)'),
  value('tls-key', 'HTTPS: file of its key', { after: 'tls-cert', required: true }),
  value('redirect-http', 'HTTPS: redirect plain HTTP from this address, such as :80 (none)', { after: 'tls-cert' }),
  value('admin', 'Path of the dashboard, such as /headgate (none)')
]

/** Asks on the terminal for what `given` does not say. Throws {@link UsageError} where there is none, or when it is closed. */
export async function askForFlags (given: readonly string[]): Promise<readonly string[]> {
  if (!process.stdin.isTTY) throw new UsageError('nobody to forward to: give --upstream URL (repeat it for more), or answer in a terminal')
  const lines = createInterface({ input: process.stdin, output: process.stdout })
  const closed = new Promise<never>((_, reject) => { lines.once('close', () => { reject(new UsageError('nothing was written')) }) })
  const said = [...given]
  const has = (flag: string): boolean => said.some((one) => one === `--${flag}` || one.startsWith(`--${flag}=`))
  try {
    for (const question of QUESTIONS) {
      if (has(question.flag) || (question.after !== undefined && !has(question.after))) continue
      for (;;) {
        const answer = (await Promise.race([lines.question(`${question.text}: `), closed])).trim()
        const more = question.flags(answer)
        const wrong = more.length === 0 ? (question.required === true ? 'an answer is needed' : undefined) : await mistakeIn([...said, ...more])
        if (wrong === undefined) {
          said.push(...more)
          break
        }
        process.stdout.write(`  ${wrong}\n`)
      }
    }
    return said
  } finally {
    closed.catch(() => {})
    lines.close()
  }
}

/** What is wrong with these flags, but for what is asked for later. */
async function mistakeIn (flags: readonly string[]): Promise<string | undefined> {
  const complete = flags.some((flag) => flag.startsWith('--tls-cert=')) && !flags.some((flag) => flag.startsWith('--tls-key=')) ? [...flags, '--tls-key=later'] : flags
  try {
    await optionsOf(complete)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
