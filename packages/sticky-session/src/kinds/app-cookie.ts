import type { Binding, CommonOptions, KindContext } from '../contract.ts'
import { LearnedCookieBinding } from './learned-cookie.ts'
import { PrefixedCookieBinding } from './prefixed-cookie.ts'

export interface AppCookieOptions extends CommonOptions {
  /** A cookie that the application sets is followed. */
  readonly by: 'app-cookie'
  /** The cookie's name. */
  readonly name: string
  /** `learn`: the table notes who set which value. `prefix`: the upstream is written in front of the value. @default 'learn' */
  readonly mode?: 'learn' | 'prefix'
}

/** Follows a cookie of the application's. */
export function appCookie (options: AppCookieOptions, context: KindContext): Binding {
  return options.mode === 'prefix' ? new PrefixedCookieBinding(options.name, context) : new LearnedCookieBinding(options.name, context) as Binding
}
