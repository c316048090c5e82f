/** Looks at the server again and again, while somebody looks at the widget. */

const LAST_TRY_S = 30;

/**
 * Calls `look` every few seconds while a view is on the screen, one after the other. Views are
 * registered by `follow`. `look` throws what the server refused; `lost` and `found` are told when
 * the server goes away and comes back.
 */
export class Watch {
  constructor(look, { everyMs, changed }) {
    this.look = look;
    this.everyMs = everyMs;
    this.changed = changed;
    this.seen = new Set();
    this.away = null;
    this.timer = null;
    this.looking = false;
  }

  /** Count an element as a view until the function that is returned is called. */
  follow(element) {
    const observer = new IntersectionObserver(([entry]) => {
      if (entry.isIntersecting) this.seen.add(element);
      else this.seen.delete(element);
      if (entry.isIntersecting) this.now();
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      this.seen.delete(element);
    };
  }

  /** Look now, and from then on in time. */
  async now() {
    clearTimeout(this.timer);
    if (this.looking) return;
    this.looking = true;
    try {
      await this.look();
      this.away = null;
    } catch (error) {
      if (!error.away) throw error;
      const wait = Math.min(2 * (this.away?.wait ?? 1), LAST_TRY_S);
      this.away = { since: this.away?.since ?? Date.now() / 1000, wait };
    } finally {
      this.looking = false;
      this.changed();
      const wait = this.away ? this.away.wait * 1000 : this.everyMs;
      this.timer = setTimeout(() => this.again(), wait);
    }
  }

  again() {
    if (this.seen.size && !document.hidden) this.now();
    else this.timer = setTimeout(() => this.again(), this.everyMs);
  }
}
