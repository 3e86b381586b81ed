"""Settings of Sphinx for site/build.py."""

project = "Fine-tuning BERT, in notebooks"
author = copyright = ""
extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_heading_anchors = 4
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_copy_source = True  # for the button that downloads a notebook
html_show_copyright = False


def setup(app):
    app.add_config_value("repository", "", "html")
    app.add_config_value("branch", "main", "html")
    app.connect("config-inited", launch)


def launch(app, config):
    """Launch buttons need to know where the notebooks lie."""
    options = {"home_page_in_toc": True, "use_download_button": True, "show_navbar_depth": 1}
    if config.repository:
        options |= {
            "repository_url": config.repository,
            "repository_branch": config.branch,
            "path_to_docs": "",
            "use_repository_button": True,
        }
        options["launch_buttons"] = {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
        }
    config.html_theme_options = options
