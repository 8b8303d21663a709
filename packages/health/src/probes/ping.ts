import { MissingProgramError } from '../errors.ts'
import { findProgram, runProgram } from '../programs.ts'
import { failed, hasSocket, passed, type Probe, type ProbeKind } from './contract.ts'

/** One echo request, numeric output, with the time limit as the system's ping counts it. */
function argumentsFor (host: string, timeout: number): string[] {
  switch (process.platform) {
    case 'win32': return ['-n', '1', '-w', String(timeout), host]
    case 'darwin': return ['-n', '-c', '1', '-W', String(timeout), '--', host]
    default: return ['-n', '-c', '1', '-W', String(Math.max(1, Math.ceil(timeout / 1000))), '--', host]
  }
}

export const ping: ProbeKind<Record<string, never>> = {
  kind: 'ping',
  describe: "An ICMP echo by the system's ping.",
  required: [],
  properties: {},
  create (_options, path): Probe {
    const program = findProgram('ping')
    if (program === undefined) throw new MissingProgramError(path, 'ping', 'Debian: iputils-ping')
    return {
      kind: 'ping',
      applies: (upstream) => hasSocket(upstream) && upstream.target.socketPath === undefined,
      async check ({ address, timeout }, signal) {
        const { status, stdout, stderr } = await runProgram(program, argumentsFor(address.hostname, timeout), { PATH: process.env['PATH'], LC_ALL: 'C' }, signal)
        if (status === 0) {
          const time = /time[=<]([\d.]+)/.exec(stdout)?.[1]
          return passed(time === undefined ? 'echo' : `echo after ${time} ms`)
        }
        const why = stderr.trim().split('\n')[0]!
        return failed(why === '' ? 'no echo' : why.slice(0, 200))
      }
    }
  }
}
