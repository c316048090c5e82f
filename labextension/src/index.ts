/** The JupyterLab side of npu-jupyter. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';

import { serveCells } from './cells';

const SHOW_ADDRESS = 'npu-jupyter:show-address';

/** Return the address that an OpenAI client takes as its base_url. */
function apiAddress(app: JupyterFrontEnd): string {
  return new URL('v1', app.serviceManager.serverSettings.baseUrl).href;
}

/** Offers the address where this server answers OpenAI clients, and cells to the widgets. */
const plugin: JupyterFrontEndPlugin<void> = {
  id: 'npu-jupyter:plugin',
  description: 'Models on the NPU, GPU or CPU of this server, behind the OpenAI API.',
  autoStart: true,
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, palette: ICommandPalette | null): void => {
    app.commands.addCommand(SHOW_ADDRESS, {
      label: 'Show the Address of the OpenAI API',
      caption: 'The base_url for OpenAI clients outside this server',
      execute: () =>
        showDialog({
          title: 'OpenAI API of this server',
          body: `base_url: ${apiAddress(app)}`,
          buttons: [Dialog.okButton()]
        })
    });
    palette?.addItem({ command: SHOW_ADDRESS, category: 'NPU' });
    serveCells(app);
  }
};

export default plugin;
