import { MissingProgramError } from '../errors.ts'
import { findProgram, runProgram } from '../programs.ts'
import { failed, passed, type Probe, type ProbeKind } from './contract.ts'

export interface ExecProbeOptions {
  /** The program: a name in PATH or a path. Started without a shell. */
  readonly command: string
  /** Its arguments. @default [] */
  readonly args?: readonly string[]
  /** Its environment beside PATH and `HEADGATE_*`; nothing else of this process's own is handed on. @default {} */
  readonly env?: Readonly<Record<string, string>>
}

export const exec: ProbeKind<ExecProbeOptions> = {
  kind: 'exec',
  describe: 'A program of yours; exit status 0 is well.',
  required: ['command'],
  properties: {
    command: { type: 'string', minLength: 1, pattern: '^[^\\x00]+$' },
    args: { type: 'array', items: { type: 'string', pattern: '^[^\\x00]*$' } },
    env: { type: 'object', additionalProperties: { type: 'string', pattern: '^[^\\x00]*$' } }
  },
  create ({ command, args = [], env = {} }, path): Probe {
    const program = findProgram(command)
    if (program === undefined) throw new MissingProgramError(`${path}.command`, command, 'its package')
    return {
      kind: 'exec',
      applies: () => true,
      async check ({ pool, upstream, address }, signal) {
        const { status, killedBy, stdout, stderr } = await runProgram(program, args, {
          PATH: process.env['PATH'],
          HEADGATE_POOL: pool.name,
          HEADGATE_UPSTREAM: upstream.id,
          HEADGATE_URL: address.href,
          HEADGATE_HOST: address.socketPath ?? address.hostname,
          HEADGATE_PORT: String(address.port),
          ...env
        }, signal)
        const said = (stderr.trim() || stdout.trim()).split('\n')[0]!.slice(0, 200)
        if (status === 0) return passed('exit status 0')
        return failed(`${status === null ? `ended by ${killedBy}` : `exit status ${status}`}${said === '' ? '' : `: ${said}`}`)
      }
    }
  }
}
