// Before the first paint: what the person chose, else what the system says.
const chosen = localStorage.getItem('headrace-theme');
if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
