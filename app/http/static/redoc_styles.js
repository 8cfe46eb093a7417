// ReDoc creates <style> elements in the page. Give each the nonce that the page's content security policy allows.
// ReDoc's own nonce option takes effect too late: it misses the elements that ReDoc creates while it loads.
const { nonce } = document.currentScript;
const create = document.createElement.bind(document);
document.createElement = (name, options) => {
  const element = create(name, options);
  if (element.localName === "style") element.nonce = nonce;
  return element;
};
