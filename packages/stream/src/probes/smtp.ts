import { type CheckKind, failed, passed, shown, type StreamCheck } from './contract.ts'
import { converse } from './converse.ts'

export interface SmtpOptions {
  /** Say EHLO with this name and wait for its 250 too. @default only the greeting */
  readonly ehlo?: string
}

const NAME = /^[\w.:[\]-]+$/

/** Codes of the complete replies (RFC 5321 4.2.1: all lines but a reply's last have a hyphen after the code). */
function replies (text: string): number[] | undefined {
  const codes: number[] = []
  for (const line of text.slice(0, text.lastIndexOf('\n') + 1).split(/\r?\n/).slice(0, -1)) {
    const [, code, more] = /^(\d{3})([ -]|$)/.exec(line) ?? []
    if (code === undefined) return undefined
    if (more !== '-') codes.push(Number(code))
  }
  return codes
}

/** Well when the server greets with 220 (RFC 5321 3.1). Waits for the whole greeting and takes its leave with QUIT. */
export function smtpCheck ({ ehlo }: SmtpOptions = {}): StreamCheck {
  if (ehlo !== undefined && !NAME.test(ehlo)) throw new RangeError('ehlo must be a host name or an address literal')
  return (upstream, signal) => {
    let asked = false
    return converse(upstream, signal, {
      heard (bytes, socket) {
        const codes = replies(bytes.toString('latin1'))
        if (codes === undefined) return failed(`answered ${shown(bytes)}`)
        const [greeting, answer] = codes
        if (greeting === undefined) return undefined
        if (greeting !== 220) return failed(`greets with ${greeting}`)
        if (ehlo === undefined) return passed('greets')
        if (!asked) {
          asked = true
          socket.write(`EHLO ${ehlo}\r\n`)
        }
        if (answer === undefined) return undefined
        return answer === 250 ? passed('greets') : failed(`answers EHLO with ${answer}`)
      },
      farewell: Buffer.from('QUIT\r\n')
    })
  }
}

export const smtp: CheckKind<SmtpOptions> = { properties: { ehlo: { type: 'string', pattern: NAME.source } }, create: smtpCheck }
